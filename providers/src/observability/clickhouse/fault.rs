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

/// What the engine says of rows that it cannot take: that it cannot read them, that they are out of range or too large, or
/// that they break a rule of the table. Not what it says of a body that was cut off, or of another schema than it has.
const REFUSED: [&str; 7] = ["6", "27", "69", "72", "131", "321", "469"];

impl Fault {
    /// Whether others would be taken.
    pub(super) fn is_refusal(&self) -> bool {
        let Self::Engine(error) = self else { return false };
        let clickhouse::error::Error::BadResponse(said) = &**error else { return false };
        let code = said.trim_start().strip_prefix("Code: ").and_then(|rest| rest.split('.').next());
        code.is_some_and(|code| REFUSED.contains(&code))
    }
}

impl From<Fault> for TelemetryError {
    fn from(fault: Fault) -> Self {
        if fault.is_refusal() { Self::Refused(Box::new(fault)) } else { Self::Store(Box::new(fault)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_rows_is_a_refusal() {
        let said = |code: u32| {
            let text = format!("Code: {code}. DB::Exception: so it is. (SO)");
            TelemetryError::from(Fault::from(clickhouse::error::Error::BadResponse(text)))
        };
        for code in [6, 321, 469] {
            assert!(matches!(said(code), TelemetryError::Refused(_)), "{code}");
        }
        // A body that was cut off, types of another release, too many parts.
        for code in [33, 53, 117, 252] {
            assert!(matches!(said(code), TelemetryError::Store(_)), "{code}");
        }
    }
}
