//! The master key.
