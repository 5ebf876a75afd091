//! The person who asks.

pub(crate) mod erase;
pub(crate) mod show;
pub(crate) mod tokens;
pub(crate) mod update;
