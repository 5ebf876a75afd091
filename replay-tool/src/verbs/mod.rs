//! What the tool can do, a file a verb.

pub(crate) mod history;
pub(crate) mod rebuild;
pub(crate) mod status;
pub(crate) mod verify;
