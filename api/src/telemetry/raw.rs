//! A span as its sender said it, whatever the format, and what becomes of it.

use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Counting, Span, SpanId, Status, TraceId};
use domain::pricing;
use serde_json::{Map, Value};

use super::caps;
use super::conventions::{self, Meaning};
use super::resource::Resource;

/// A span as it was said.
pub(super) struct Raw {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent_id: Option<SpanId>,
    pub(super) is_root: bool,
    pub(super) name: String,
    /// What sort of work it is, when the attributes do not say.
    pub(super) kind: &'static str,
    /// Since 1970, in nanoseconds.
    pub(super) start: i128,
    pub(super) end: i128,
    pub(super) status: Status,
    pub(super) message: Option<String>,
    pub(super) attributes: Map<String, Value>,
    pub(super) events: Vec<Value>,
    pub(super) links: Vec<Value>,
}

impl Raw {
    /// The row, from the flat attributes of OTLP.
    pub(super) fn row(
        self,
        resource: &Resource<'_>,
        deployment: Option<DeploymentId>,
    ) -> Result<Span, String> {
        let meaning = conventions::meaning(&self.attributes, resource.sender());
        self.row_with(meaning, resource.clone(), deployment)
    }

    /// The row, when it is known what it means.
    pub(super) fn row_with(
        self,
        meaning: Meaning,
        resource: Resource<'_>,
        deployment: Option<DeploymentId>,
    ) -> Result<Span, String> {
        let (started_at, duration_us) = self.times()?;
        let cost = match (meaning.counting, meaning.cost) {
            (Counting::Never, _) => None,
            (_, Some(dollars)) => pricing::explicit(dollars),
            (_, None) => None,
        };
        let models = (meaning.model.as_deref(), meaning.asked_model.as_deref());
        let cost = cost.or_else(|| match meaning.counting {
            Counting::Never => None,
            _ => pricing::of_call(models.0, models.1, &meaning.usage, started_at),
        });
        let short = |text: Option<String>| {
            text.filter(|text| !text.is_empty()).map(|text| caps::owned(text, caps::NAME))
        };
        let tags =
            meaning.tags.into_iter().take(caps::TAGS).map(|tag| caps::owned(tag, caps::NAME)).collect();
        Ok(Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_id: self.parent_id,
            is_root: self.is_root,
            name: caps::owned(self.name, caps::NAME),
            kind: short(meaning.kind).unwrap_or_else(|| self.kind.to_owned()),
            status: self.status,
            status_message: self.message.map(|text| caps::owned(text, caps::MESSAGE)),
            started_at,
            duration_us,
            service: short(resource.service().map(str::to_owned)),
            deployment_id: meaning.deployment.or(deployment),
            user_id: short(meaning.user),
            session_id: short(meaning.session),
            tags,
            model: short(meaning.model.or(meaning.asked_model)),
            provider: short(meaning.provider),
            usage: meaning.usage,
            counting: meaning.counting,
            cost,
            attributes: caps::object(self.attributes),
            resource: resource.into_map(),
            events: caps::list(self.events),
            links: caps::list(self.links),
        })
    }

    /// When it began, and how long it took, in whole microseconds.
    fn times(&self) -> Result<(DateTime<Utc>, i64), String> {
        let id = self.span_id;
        if self.end < self.start {
            return Err(format!("span {id}: it ended before it began"));
        }
        let (start, end) = (self.start.div_euclid(1000), self.end.div_euclid(1000));
        let started = i64::try_from(start).ok().and_then(DateTime::from_timestamp_micros);
        let started = started.ok_or_else(|| format!("span {id}: began at no time that there is"))?;
        let duration = i64::try_from(end - start).map_err(|_| format!("span {id}: took too long"))?;
        Ok((started, duration))
    }
}
