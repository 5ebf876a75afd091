//! Apps as repositories bring them, and what their tools say.

mod detect;
mod explain;
mod package;
mod toolchain;
