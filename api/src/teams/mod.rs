//! Teams, their members and invites.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod invites;
pub(crate) mod list;
pub(crate) mod members;
pub(crate) mod restore;
pub(crate) mod show;
pub(crate) mod transfer;
pub(crate) mod update;
