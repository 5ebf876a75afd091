//! Where builds and servers run.

pub mod local;
