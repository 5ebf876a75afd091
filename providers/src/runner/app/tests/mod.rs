//! Apps as repositories bring them, and what their tools say.

mod built;
mod detect;
mod explain;
mod package;
mod recipe;
mod toolchain;
