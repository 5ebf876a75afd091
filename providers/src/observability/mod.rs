//! Where output and telemetry are kept.

pub mod clickhouse;
mod days;
mod failures;
mod lines;
mod mask;
mod pages;
pub mod postgres;
pub mod postgres_signals;
pub mod postgres_spans;
mod reckoning;
pub mod spool;
