//! How the platform writes to people.

pub mod console;
