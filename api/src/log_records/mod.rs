//! Lines of deployed servers: `GET /projects/{project}/logs`, and as they come.

mod list;
mod tail;

pub(crate) use list::{
    View as LineView, Wanted as LinesWanted, filter as line_filter, handler as list, view as line_view,
};
pub(crate) use tail::handler as tail;
