//! What the platform needs from the outside world: one trait a file, implemented in `providers`.

pub mod anchor;
pub mod artifacts;
pub mod auth;
pub mod email;
pub mod encryption;
pub mod git;
pub mod logs;
pub mod news;
pub mod runner;
pub mod traffic;
