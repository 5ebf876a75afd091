//! The parts of the program that are not the API's library.

pub(crate) mod artifacts;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod database;
mod github;
pub(crate) mod keys;
pub(crate) mod logging;
mod outbound;
pub(crate) mod runner;
pub(crate) mod secrets;
pub(crate) mod serve;
pub(crate) mod settings;
mod telemetry;
mod telemetry_url;
mod world;
