//! Adapters behind the ports of `domain`: `src/<port>/<provider>.rs`.

pub mod anchor;
pub mod artifacts;
pub mod auth;
mod child;
pub mod database;
pub mod email;
pub mod encryption;
pub mod git;
mod links;
pub mod observability;
pub mod runner;
