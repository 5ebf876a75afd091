//! Where builds and servers run.

pub mod app;
pub mod local;
