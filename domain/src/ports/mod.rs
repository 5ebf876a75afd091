//! What the platform needs from the outside world: one trait a file, implemented in `providers`.

pub mod anchor;
pub mod artifacts;
pub mod auth;
pub mod email;
pub mod encryption;
pub mod git;
pub mod git_host;
pub mod host_shown;
pub mod logs;
pub mod news;
pub mod outbound;
pub mod push_hooks;
pub mod runner;
pub mod telemetry;
pub mod traffic;
