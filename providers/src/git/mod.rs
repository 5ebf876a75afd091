//! Where source code comes from.

pub mod command;
mod environment;
mod explain;

#[cfg(test)]
mod tests;
