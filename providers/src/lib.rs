//! Adapters behind the ports of `domain`: `src/<port>/<provider>.rs`.

mod addresses;
pub mod anchor;
pub mod artifacts;
pub mod auth;
mod child;
pub mod database;
pub mod email;
pub mod encryption;
pub mod git;
mod guard;
mod links;
pub mod observability;
pub mod outbound;
pub mod programs;
pub mod runner;
