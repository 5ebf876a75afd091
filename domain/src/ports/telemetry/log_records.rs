//! Lines that deployed servers log, with what they say beside the text.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Keeping, Period, RecordId, SpanId, TelemetryError, Tenant, TraceId, Written};
use crate::ids::DeploymentId;

/// Stores and reads lines.
///
/// A line is what one project says under one id on one day (UTC). It is written once and never changes: what comes later
/// under the same id is a repeat and is not stored.
#[async_trait]
pub trait LogRecords: Keeping {
    /// Stores lines. When it answers with `Ok`, they are durable, all of them. Lines outside of the window are an error
    /// of the caller.
    ///
    /// # Errors
    /// When the store is away or has enough to do; another try is worth it, and stores nothing twice.
    async fn write_logs(&self, tenant: Tenant, lines: Vec<LogRecord>) -> Result<Written, TelemetryError>;

    /// Lines, newest first: at most as many as the filter says, and no more than a page has bytes
    /// ([`PAGE_BYTES`](super::PAGE_BYTES)).
    async fn logs(&self, tenant: Tenant, filter: &LogFilter) -> Result<Vec<LogRecord>, TelemetryError>;

    /// A line with those of the filter that come before and after it, at most the filter's limit and a page of bytes each,
    /// newest first; none when nobody knows the line.
    async fn logs_around(
        &self,
        tenant: Tenant,
        id: RecordId,
        filter: &LogFilter,
    ) -> Result<Vec<LogRecord>, TelemetryError>;
}

/// One line. Everything that senders choose freely is text or JSON, within the caps of who took it in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// What it is known by.
    pub id: RecordId,
    /// When it was logged, in whole microseconds.
    pub at: DateTime<Utc>,
    /// Where it stood among those that were sent with it: lines of the same moment keep their order.
    pub place: i32,
    /// How much it matters, where its sender says so.
    pub severity: Option<Severity>,
    /// What it says.
    pub message: String,
    /// The trace it was logged in.
    pub trace_id: Option<TraceId>,
    /// The span it was logged in.
    pub span_id: Option<SpanId>,
    /// The name that the sending program has for itself.
    pub service: Option<String>,
    /// The deployment that it came from.
    pub deployment_id: Option<DeploymentId>,
    /// Everything else that was said about it.
    pub attributes: Map<String, Value>,
    /// What was said about its sender.
    pub resource: Map<String, Value>,
}

impl LogRecord {
    /// Where it stands in the list.
    pub fn place(&self) -> LogPlace {
        LogPlace { at: self.at, place: self.place, id: self.id }
    }
}

/// Where a line stands in the list; what was logged later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// When it was logged.
    pub at: DateTime<Utc>,
    /// Where it stood among those that were sent with it.
    pub place: i32,
    /// The line.
    pub id: RecordId,
}

/// Which lines. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// When it was logged.
    pub period: Period,
    /// How much it matters at least.
    pub least: Option<Severity>,
    /// What it contains, in any case of letters.
    pub text: Option<String>,
    /// The trace it was logged in.
    pub trace_id: Option<TraceId>,
    /// Where it came from.
    pub deployment_id: Option<DeploymentId>,
    /// Only what comes after this one.
    pub after: Option<LogPlace>,
    /// At most so many.
    pub limit: i64,
}

/// How much a line matters, as OpenTelemetry counts: 1 to 24, four steps a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Severity(u8);

impl Severity {
    const LEVELS: [&'static str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

    /// From its number; none that is out of range.
    pub fn from_number(number: i64) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=24).contains(number)).map(Self)
    }

    /// The lowest of a level, by its name in any case of letters, also in the words of other programs.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let name = match name.as_str() {
            "verbose" => "trace",
            "notice" | "information" | "log" => "info",
            "warning" => "warn",
            "err" => "error",
            "critical" | "crit" | "alert" | "emergency" | "emerg" | "panic" => "fatal",
            name => name,
        };
        let level = Self::LEVELS.iter().position(|known| *known == name)?;
        Self::from_number(i64::try_from(level).ok()? * 4 + 1)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its level.
    pub fn level(self) -> &'static str {
        Self::LEVELS[usize::from(self.0 - 1) / 4]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_level_and_every_level_a_first_number() {
        for (name, first) in Severity::LEVELS.iter().zip((1..).step_by(4)) {
            for number in first..first + 4 {
                assert_eq!(Severity::from_number(number).unwrap().level(), *name);
            }
            assert_eq!(i64::from(Severity::from_name(name).unwrap().number()), first);
        }
        for odd in [i64::MIN, -1, 0, 25, 256, 257] {
            assert_eq!(Severity::from_number(odd), None);
        }
        assert_eq!(Severity::from_name("WARNING"), Severity::from_number(13));
        assert_eq!(Severity::from_name("loud"), None);
    }
}
