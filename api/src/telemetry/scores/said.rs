//! A score as its sender said it, and what becomes of it.

use std::collections::HashMap;

use chrono::DateTime;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{RecordId, Score, ScoreKind, SpanId, TraceId};
use serde_json::{Map, Value};

use crate::telemetry::caps;
use crate::telemetry::identity::Identity;

/// No number is larger: sums of them are numbers, too.
const LARGEST: f64 = 1e200;

/// How many scores of a body said the same before, by what they say.
pub(super) type Seen = HashMap<RecordId, i128>;

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
    /// The row, in a body where others may say the same.
    pub(super) fn row(self, seen: &mut Seen) -> Result<Score, String> {
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
        let id = self.id(seen);
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

    /// Its sender's word for it, or else all that it says, and how many in this body said the same before.
    fn id(&self, seen: &mut Seen) -> RecordId {
        let identity = Identity::new(self.kind.as_str());
        if let Some(id) = &self.id {
            return identity.bytes(b"id").bytes(id.as_bytes()).id();
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let id = identity
            .number(self.nanos)
            .bytes(self.name.as_bytes())
            .bytes(self.value.to_string().as_bytes())
            .bytes(text(&self.comment).as_bytes())
            .bytes(text(&self.source).as_bytes())
            .bytes(text(&self.user_id).as_bytes())
            .bytes(self.trace_id.as_ref().map_or(&[], |id| id.as_bytes()))
            .bytes(self.span_id.as_ref().map_or(&[], |id| id.as_bytes()))
            .object(&self.details)
            .id();
        let before = seen.entry(id).and_modify(|before| *before += 1).or_default();
        match *before {
            0 => id,
            before => Identity::new("again").bytes(id.as_bytes()).number(before).id(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(told: &[(f64, Option<&str>)]) -> Vec<RecordId> {
        let mut seen = Seen::default();
        let id = |(value, id): &(f64, Option<&str>)| {
            let said = Said {
                id: id.map(str::to_owned),
                kind: ScoreKind::Score,
                nanos: 1_700_000_000_000_000_000,
                name: "relevance".to_owned(),
                value: json!(value),
                comment: None,
                source: None,
                user_id: None,
                trace_id: None,
                span_id: None,
                deployment_id: None,
                details: Map::new(),
            };
            said.row(&mut seen).unwrap().id
        };
        told.iter().map(id).collect()
    }

    #[test]
    fn what_is_said_twice_is_two_scores_and_what_is_sent_twice_is_not() {
        let body = [(0.5, None), (0.5, None), (0.5, None), (1.0, None)];
        let first = ids(&body);
        assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert_eq!(ids(&body), first);
        let told = ids(&[(0.5, Some("x")), (1.0, Some("x"))]);
        assert_eq!(told[0], told[1], "the sender's id says which score it is");
    }
}
