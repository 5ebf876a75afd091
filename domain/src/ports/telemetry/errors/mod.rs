//! Errors, with those that are alike in one group.

mod alike;
mod place;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{ErrorId, Keeping, LogRecord, Period, Span, SpanId, Status, TelemetryError, Tenant, TraceId};
use crate::ids::DeploymentId;

/// Groups are counted by it: another one would put what is alike into other groups.
const ALIKE: Uuid = Uuid::from_u128(0x5d0b_7a3e_43c1_4f0f_9a55_0f6d_2a1e_77b1);
/// Bytes of an exception's type.
const KIND: usize = 256;
/// Bytes of a message.
const MESSAGE: usize = 1024;
/// From which severity on a line is an error: `error`.
const ERROR: u8 = 17;

/// Reads what went wrong.
///
/// An occurrence is a span that ended with an error or tells an exception, or a line that matters as much as an error or
/// tells an exception. What they are alike by is kept with them when they are written.
#[async_trait]
pub trait Errors: Keeping {
    /// Groups with an occurrence that matches, by when they last had one, newest first. All numbers are of the
    /// occurrences that match.
    async fn errors(&self, tenant: Tenant, filter: &ErrorFilter) -> Result<Vec<ErrorGroup>, TelemetryError>;
}

/// Which errors. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct ErrorFilter {
    /// When it was.
    pub period: Period,
    /// Told by spans, or by lines; both when absent.
    pub source: Option<ErrorSource>,
    /// What type or message contain, in any case of letters.
    pub text: Option<String>,
    /// Which group.
    pub group: Option<ErrorId>,
    /// Where it came from: one of these.
    pub deployments: Option<Vec<DeploymentId>>,
    /// Only what comes after this one.
    pub after: Option<ErrorPlace>,
    /// At most so many.
    pub limit: i64,
}

/// Where a group stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorPlace {
    /// When it was last seen.
    pub last_seen: DateTime<Utc>,
    /// The group.
    pub id: ErrorId,
}

/// What tells an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorSource {
    /// A span.
    Span,
    /// A line.
    Line,
}

/// Errors that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    /// What the group is known by.
    pub id: ErrorId,
    /// Type of the exception, where it is told.
    pub kind: Option<String>,
    /// What the example says.
    pub message: String,
    /// How many spans tell it.
    pub spans: i64,
    /// How many lines tell it.
    pub lines: i64,
    /// In how many traces.
    pub traces: i64,
    /// When it was first.
    pub first_seen: DateTime<Utc>,
    /// When it was last.
    pub last_seen: DateTime<Utc>,
    /// Trace of the example: the last occurrence that has one.
    pub trace_id: Option<TraceId>,
    /// Its span.
    pub span_id: Option<SpanId>,
    /// Where it came from: the latest [`ErrorGroup::DEPLOYMENTS`], by their ids.
    pub deployments: Vec<DeploymentId>,
}

impl ErrorGroup {
    /// So many deployments of a group are told.
    pub const DEPLOYMENTS: usize = 100;
}

/// What one occurrence tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The group that it belongs to.
    pub group: ErrorId,
    /// Type of the exception; empty where it is not told.
    pub kind: String,
    /// What it says.
    pub message: String,
}

impl Failure {
    /// That of a span; none when it ended well and tells no exception.
    pub fn of_span(span: &Span) -> Option<Self> {
        let told = |event: &&Value| event["name"] == "exception";
        let exception = span.events.iter().rev().find(told).map(|event| &event["attributes"]);
        if span.status != Status::Error && exception.is_none() {
            return None;
        }
        let of =
            |key: &str| exception.and_then(|it| text(&it[key])).or_else(|| text(span.attributes.get(key)?));
        let message = of("exception.message").or(span.status_message.as_deref()).unwrap_or(&span.name);
        let kind = of("exception.type").or_else(|| of("error.type")).unwrap_or_default();
        Some(Self::new(kind, message, of("exception.stacktrace").unwrap_or_default()))
    }

    /// That of a line; none when it is about something else.
    pub fn of_line(line: &LogRecord) -> Option<Self> {
        let said = &line.attributes;
        let object = ["err", "error"].iter().find_map(|key| said.get(*key)?.as_object());
        let of = |keys: [&str; 3]| {
            let [full, short, other] = keys;
            let flat = said.get(full).and_then(text);
            flat.or_else(|| [short, other].iter().find_map(|key| text(object?.get(*key)?)))
        };
        let kind = of(["exception.type", "type", "name"]);
        let (message, stack) =
            (of(["exception.message", "message", "msg"]), of(["exception.stacktrace", "stack", "trace"]));
        let matters = line.severity.is_some_and(|severity| severity.number() >= ERROR);
        if !matters && ["exception.type", "exception.message"].iter().all(|key| !said.contains_key(*key)) {
            return None;
        }
        Some(Self::new(kind.unwrap_or_default(), message.unwrap_or(&line.message), stack.unwrap_or_default()))
    }

    fn new(kind: &str, message: &str, stack: &str) -> Self {
        let kind = cut(kind.trim(), KIND);
        let same = [kind, &alike::normal(message), &place::thrown(stack)].join("\0");
        let group = ErrorId::try_from(&Uuid::new_v5(&ALIKE, same.as_bytes()).as_bytes()[..]);
        Self {
            group: group.expect("the version is not zero"),
            kind: kind.to_owned(),
            message: cut(message.trim(), MESSAGE).to_owned(),
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
