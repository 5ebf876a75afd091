//! Where source code comes from.

pub mod command;
