//! Why the engine did not do what it was asked: one failure may concern many who wait for it.

use std::sync::Arc;

use domain::ports::telemetry::TelemetryError;
use thiserror::Error;

/// Why.
#[derive(Clone, Debug, Error)]
pub(super) enum Fault {
    /// It could not be reached, or refused.
    #[error(transparent)]
    Engine(Arc<clickhouse::error::Error>),
    /// Something about the schema or a row is not as it must be.
    #[error("{0}")]
    Other(String),
}

impl Fault {
    /// It took too long.
    pub(super) fn late() -> Self {
        Self::Engine(Arc::new(clickhouse::error::Error::TimedOut))
    }
}

impl From<clickhouse::error::Error> for Fault {
    fn from(error: clickhouse::error::Error) -> Self {
        Self::Engine(Arc::new(error))
    }
}

impl From<Fault> for TelemetryError {
    fn from(fault: Fault) -> Self {
        Self::Store(Box::new(fault))
    }
}
