//! What the tool can do, a file a verb.

pub(crate) mod diff;
pub(crate) mod history;
pub(crate) mod rebuild;
pub(crate) mod status;
pub(crate) mod transfer;
pub(crate) mod verify;
