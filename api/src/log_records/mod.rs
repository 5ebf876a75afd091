//! Lines of deployed servers: `GET /projects/{project}/logs`, and as they come.

mod list;
mod tail;

pub(crate) use list::{View as LineView, handler as list};
pub(crate) use tail::handler as tail;
