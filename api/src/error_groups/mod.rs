//! What went wrong in a project, with what is alike in one group.

mod list;

pub(crate) use list::{View as ErrorView, handler as list};
