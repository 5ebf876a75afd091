//! A score as its sender said it, and what becomes of it.

use chrono::DateTime;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Score, ScoreKind, SpanId, TraceId};
use serde_json::{Map, Value};

use crate::telemetry::caps;
use crate::telemetry::identity::Identity;

/// No number is larger: sums of them are numbers, too.
const LARGEST: f64 = 1e200;

/// A score as it was said.
pub(super) struct Said {
    /// Its sender's own id for it.
    pub(super) id: Option<String>,
    pub(super) kind: ScoreKind,
    /// Since 1970, in nanoseconds.
    pub(super) nanos: i128,
    pub(super) name: String,
    /// A number, or words.
    pub(super) value: Value,
    pub(super) comment: Option<String>,
    pub(super) source: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) trace_id: Option<TraceId>,
    pub(super) span_id: Option<SpanId>,
    pub(super) deployment_id: Option<DeploymentId>,
    pub(super) details: Map<String, Value>,
}

impl Said {
    pub(super) fn row(self) -> Result<Score, String> {
        if self.name.trim().is_empty() {
            return Err("a score does not say what it is about".to_owned());
        }
        let at = i64::try_from(self.nanos.div_euclid(1000)).ok().and_then(DateTime::from_timestamp_micros);
        let at = at.filter(|at| at.timestamp() > 0).ok_or("a score was given at no time that there is")?;
        let (value, text) = match &self.value {
            Value::Number(number) => (number.as_f64().filter(|number| number.abs() <= LARGEST), None),
            Value::String(text) => (None, Some(text.as_str())),
            _ => (None, None),
        };
        if value.is_none() && text.is_none() {
            let name: String = self.name.chars().take(100).collect();
            return Err(format!("score {name}: its value is neither a number that can be kept nor a text"));
        }
        let id = self.id();
        let name = |text: &Option<String>| {
            text.as_deref().filter(|text| !text.is_empty()).map(|text| caps::text(text, caps::NAME))
        };
        Ok(Score {
            id,
            kind: self.kind,
            at,
            name: caps::text(&self.name, caps::NAME),
            value,
            text: text.map(|text| caps::text(text, caps::MESSAGE)),
            comment: self.comment.as_deref().map(|text| caps::text(text, caps::MESSAGE)),
            source: name(&self.source),
            user_id: name(&self.user_id),
            trace_id: self.trace_id,
            span_id: self.span_id,
            deployment_id: self.deployment_id,
            details: caps::object(self.details),
        })
    }

    /// Its sender's word for it, or else all that it says.
    fn id(&self) -> domain::ports::telemetry::RecordId {
        let identity = Identity::new(self.kind.as_str());
        if let Some(id) = &self.id {
            return identity.bytes(b"id").bytes(id.as_bytes()).id();
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        identity
            .number(self.nanos)
            .bytes(self.name.as_bytes())
            .bytes(self.value.to_string().as_bytes())
            .bytes(text(&self.comment).as_bytes())
            .bytes(text(&self.source).as_bytes())
            .bytes(text(&self.user_id).as_bytes())
            .bytes(self.trace_id.as_ref().map_or(&[], |id| id.as_bytes()))
            .bytes(self.span_id.as_ref().map_or(&[], |id| id.as_bytes()))
            .object(&self.details)
            .id()
    }
}
