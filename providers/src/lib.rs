//! Adapters behind the ports of `domain`: `src/<port>/<provider>.rs`.

pub mod artifacts;
pub mod database;
pub mod email;
pub mod encryption;
pub mod git;
pub mod observability;
pub mod runner;
