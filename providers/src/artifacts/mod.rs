//! Where packed builds are kept.

pub mod folder;
