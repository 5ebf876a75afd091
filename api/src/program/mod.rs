//! The parts of the program that are not the API's library.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod database;
pub(crate) mod logging;
pub(crate) mod serve;
