//! A line as its sender said it, whatever the format, and what becomes of it.

use std::collections::HashMap;

use chrono::DateTime;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{LogRecord, RecordId, Severity, SpanId, TraceId};
use serde_json::{Map, Value};

use crate::telemetry::batch::Batch;
use crate::telemetry::caps;
use crate::telemetry::identity::Identity;
use crate::telemetry::resource::Resource;

/// Bytes of what a line says.
const MESSAGE: usize = 32 << 10;

/// A line as it was said.
#[derive(Default)]
pub(super) struct Said<'a> {
    /// Its sender's own id for it.
    pub(super) id: Option<String>,
    /// Since 1970, in nanoseconds.
    pub(super) nanos: i128,
    pub(super) severity: Option<Severity>,
    pub(super) message: String,
    pub(super) trace_id: Option<TraceId>,
    pub(super) span_id: Option<SpanId>,
    pub(super) service: Option<String>,
    pub(super) deployment_id: Option<DeploymentId>,
    pub(super) attributes: Map<String, Value>,
    pub(super) resource: Resource<'a>,
}

/// How many lines said the same before, by what they say.
type Seen = HashMap<RecordId, i32>;

/// Rows of one body.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) batch: Batch<LogRecord>,
    place: i32,
    seen: Seen,
}

impl Lines {
    pub(super) fn add_with<'a>(&mut self, said: impl FnOnce() -> Result<Said<'a>, String>) {
        let Self { batch, place, seen } = self;
        batch.add_with(|| row(said()?, place, seen));
    }
}

fn row(said: Said<'_>, place: &mut i32, seen: &mut Seen) -> Result<LogRecord, String> {
    let at = i64::try_from(said.nanos.div_euclid(1000)).ok().and_then(DateTime::from_timestamp_micros);
    let at = at.filter(|at| at.timestamp() > 0).ok_or("a line was logged at no time that there is")?;
    let resource = said.resource.clone().into_map();
    let id = id(&said, &resource, seen);
    *place += 1;
    let name =
        |text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| caps::text(&text, caps::NAME));
    Ok(LogRecord {
        id,
        at,
        place: *place,
        severity: said.severity,
        message: caps::text(&said.message, MESSAGE),
        trace_id: said.trace_id,
        span_id: said.span_id,
        service: name(said.service),
        deployment_id: said.deployment_id,
        attributes: caps::object(said.attributes),
        resource,
    })
}

/// Its sender's word for it, or else all that it says, and how many in this body said the same before: a program that
/// says something twice is heard twice, a body that is sent twice once.
fn id(said: &Said<'_>, resource: &Map<String, Value>, seen: &mut Seen) -> RecordId {
    if let Some(id) = &said.id {
        return Identity::new("log id").bytes(id.as_bytes()).id();
    }
    let same = |before: i32| {
        Identity::new("log")
            .number(said.nanos)
            .number(said.severity.map_or(0, |severity| severity.number().into()))
            .bytes(said.message.as_bytes())
            .bytes(said.trace_id.as_ref().map_or(&[], |id| id.as_bytes()))
            .bytes(said.span_id.as_ref().map_or(&[], |id| id.as_bytes()))
            .object(&said.attributes)
            .object(resource)
            .number(before.into())
            .id()
    };
    let before = seen.entry(same(0)).and_modify(|before| *before += 1).or_default();
    same(*before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(said: &[(&str, i128, Option<&str>)]) -> Vec<RecordId> {
        let mut lines = Lines::default();
        for (message, micros, id) in said {
            let id = id.map(str::to_owned);
            let nanos = micros * 1000 + 1_700_000_000_000_000_000;
            lines.add_with(|| Ok(Said { id, nanos, message: (*message).to_owned(), ..Said::default() }));
        }
        lines.batch.rows.iter().map(|line| line.id).collect()
    }

    #[test]
    fn what_is_said_twice_is_two_lines_and_what_is_sent_twice_is_not() {
        let batch = [("a", 1, None), ("a", 1, None), ("a", 2, None), ("b", 1, None)];
        let first = ids(&batch);
        assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert_eq!(ids(&batch), first);
        let told = ids(&[("a", 1, Some("x")), ("b", 2, Some("x")), ("a", 1, Some("y"))]);
        assert_eq!(told[0], told[1], "the sender's id says which line it is");
        assert_ne!(told[0], told[2]);
    }
}
