//! The runner with a repository and a store of its own, and servers of a few lines.

mod builds;
mod kit;
mod servers;
mod sweeping;
