//! Builds and runs on this machine, each command in a sandbox.
mod directories;
mod sandbox;
