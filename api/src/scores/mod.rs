//! Scores of traces: `GET /projects/{project}/scores`.

mod list;

pub(crate) use list::{View as ScoreView, handler as list};
