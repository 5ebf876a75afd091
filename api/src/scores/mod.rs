//! Scores of traces: `GET /projects/{project}/scores`.

mod list;

pub(crate) use list::{
    View as ScoreView, Wanted as ScoresWanted, filter as score_filter, handler as list, view as score_view,
};
