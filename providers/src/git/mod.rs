//! Where source code comes from.

pub mod command;
mod environment;
mod explain;
pub mod github;
pub mod hooks;
mod reach;
pub mod ssh;

#[cfg(test)]
mod tests;
