//! Lines of deployed servers: `GET /projects/{project}/logs`.

mod list;

pub(crate) use list::{View as LineView, handler as list};
