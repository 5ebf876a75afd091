//! Adapters for the port `outbound`.

pub mod https;
