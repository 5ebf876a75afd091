//! Where builds and servers run.
