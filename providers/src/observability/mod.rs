//! Where output and telemetry are kept.

mod lines;
mod mask;
pub mod postgres;
pub mod postgres_spans;
