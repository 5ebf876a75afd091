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

/// What it says of a question that took too long, or would take more memory than one may.
const TOO_WIDE: [&str; 2] = ["159", "241"];

impl Fault {
    /// Whether others would be taken.
    pub(super) fn is_refusal(&self) -> bool {
        self.code().is_some_and(|code| REFUSED.contains(&code))
    }

    /// Why a question was not answered. Where the engine has no memory left for anybody, that is not the question's fault.
    pub(super) fn of_a_question(self) -> TelemetryError {
        let is_of_all = self.said().is_some_and(|said| said.contains("(total) memory limit"));
        match self.code() {
            Some(code) if TOO_WIDE.contains(&code) && !is_of_all => TelemetryError::TooWide(Box::new(self)),
            _ => self.into(),
        }
    }

    fn said(&self) -> Option<&str> {
        let Self::Engine(error) = self else { return None };
        let clickhouse::error::Error::BadResponse(said) = &**error else { return None };
        Some(said)
    }

    /// The engine's own number of what went wrong.
    fn code(&self) -> Option<&str> {
        self.said()?.trim_start().strip_prefix("Code: ")?.split('.').next()
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
    fn only_what_a_question_itself_takes_is_too_wide() {
        let said = |text: &str| {
            let text = format!("Code: {text}. (SO)");
            Fault::from(clickhouse::error::Error::BadResponse(text)).of_a_question()
        };
        for text in [
            "159. DB::Exception: Timeout exceeded: elapsed 10.1 seconds",
            "241. DB::Exception: Query memory limit exceeded: would use 2.00 MiB",
            "241. DB::Exception: Memory limit (for query) exceeded: would use 2.00 MiB",
        ] {
            assert!(matches!(said(text), TelemetryError::TooWide(_)), "{text}");
        }
        for text in ["241. DB::Exception: (total) memory limit exceeded", "60. DB::Exception: no such table"]
        {
            assert!(matches!(said(text), TelemetryError::Store(_)), "{text}");
        }
    }

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
