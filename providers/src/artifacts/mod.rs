//! Where packed builds are kept.
