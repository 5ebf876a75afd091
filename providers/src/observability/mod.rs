//! Where output and telemetry are kept.

pub mod clickhouse_spans;
mod lines;
mod mask;
pub mod postgres;
pub mod postgres_spans;
