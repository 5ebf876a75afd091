//! The kit: what every test outside the crates' own needs.

pub mod postgres;
