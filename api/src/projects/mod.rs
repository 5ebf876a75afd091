//! Projects.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod diff;
pub(crate) mod list;
pub(crate) mod markers;
pub(crate) mod retention;
pub(crate) mod show;
pub(crate) mod telemetry_quota;
pub(crate) mod update;
