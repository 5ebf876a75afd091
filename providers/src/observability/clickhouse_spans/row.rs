//! A span as the engine keeps it.

use chrono::{DateTime, Days, NaiveDate};
use clickhouse::Row;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Cost, Counting, Span, SpanId, Status, Tenant, TraceId, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fault::Fault;

/// Its columns.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub(super) struct SpanRow {
    #[serde(with = "clickhouse::serde::uuid")]
    team_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_id: [u8; 8],
    is_root: bool,
    name: String,
    kind: String,
    status: String,
    status_message: Option<String>,
    started_at: i64,
    duration_us: i64,
    service: Option<String>,
    #[serde(with = "clickhouse::serde::uuid::option")]
    deployment_id: Option<Uuid>,
    user_id: Option<String>,
    session_id: Option<String>,
    tags: Vec<String>,
    model: Option<String>,
    provider: Option<String>,
    input_tokens: i64,
    output_tokens: i64,
    cache_read: i64,
    cache_write: i64,
    audio_input: i64,
    reasoning: i64,
    audio_output: i64,
    counting: i16,
    cost: Option<i128>,
    price: Option<String>,
    attributes: String,
    resource: String,
    events: String,
    links: String,
    expires_on: u16,
}

/// What a span is: whose, its ids, and the day on which it began.
pub(super) type Identity = (Uuid, [u8; 16], [u8; 8], u16);

/// What a span is.
pub(super) fn identity(tenant: Tenant, span: &Span) -> Identity {
    let day = number(span.started_at.date_naive());
    (tenant.project.0, bytes(span.trace_id.as_bytes()), bytes(span.span_id.as_bytes()), day)
}

impl SpanRow {
    /// As it is written, to be kept for so many days besides its own.
    pub(super) fn new(tenant: Tenant, span: Span, days: u32) -> Self {
        let (picos, price) = span.cost.map(|cost| (i128::from(cost.picos), cost.price)).unzip();
        let last = span.started_at.date_naive().checked_add_days(Days::new(days.into()));
        Self {
            team_id: tenant.team.0,
            project_id: tenant.project.0,
            trace_id: bytes(span.trace_id.as_bytes()),
            span_id: bytes(span.span_id.as_bytes()),
            parent_id: span.parent_id.map(|id| bytes(id.as_bytes())).unwrap_or_default(),
            is_root: span.is_root,
            name: span.name,
            kind: span.kind,
            status: span.status.as_str().to_owned(),
            status_message: span.status_message,
            started_at: span.started_at.timestamp_micros(),
            duration_us: span.duration_us,
            service: span.service,
            deployment_id: span.deployment_id.map(|id| id.0),
            user_id: span.user_id,
            session_id: span.session_id,
            tags: span.tags,
            model: span.model,
            provider: span.provider,
            input_tokens: span.usage.input,
            output_tokens: span.usage.output,
            cache_read: span.usage.cache_read,
            cache_write: span.usage.cache_write,
            audio_input: span.usage.audio_input,
            reasoning: span.usage.reasoning,
            audio_output: span.usage.audio_output,
            counting: span.counting.as_i16(),
            cost: picos,
            price,
            attributes: Value::Object(span.attributes).to_string(),
            resource: Value::Object(span.resource).to_string(),
            events: Value::Array(span.events).to_string(),
            links: Value::Array(span.links).to_string(),
            expires_on: number(last.unwrap_or(NaiveDate::MAX)),
        }
    }
}

impl TryFrom<SpanRow> for Span {
    type Error = Fault;

    fn try_from(row: SpanRow) -> Result<Self, Fault> {
        let cost = row.cost.zip(row.price);
        let cost = cost
            .map(|(picos, price)| Ok::<_, Fault>(Cost { picos: i64::try_from(picos).map_err(odd)?, price }));
        let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(odd);
        let list = |text: &str| serde_json::from_str::<Vec<Value>>(text).map_err(odd);
        Ok(Self {
            trace_id: TraceId::try_from(&row.trace_id[..]).map_err(odd)?,
            span_id: SpanId::try_from(&row.span_id[..]).map_err(odd)?,
            parent_id: SpanId::try_from(&row.parent_id[..]).ok(),
            is_root: row.is_root,
            name: row.name,
            kind: row.kind,
            status: Status::from_name(&row.status).unwrap_or_default(),
            status_message: row.status_message,
            started_at: DateTime::from_timestamp_micros(row.started_at)
                .ok_or_else(|| odd("a time out of range"))?,
            duration_us: row.duration_us,
            service: row.service,
            deployment_id: row.deployment_id.map(DeploymentId),
            user_id: row.user_id,
            session_id: row.session_id,
            tags: row.tags,
            model: row.model,
            provider: row.provider,
            usage: Usage {
                input: row.input_tokens,
                output: row.output_tokens,
                cache_read: row.cache_read,
                cache_write: row.cache_write,
                audio_input: row.audio_input,
                reasoning: row.reasoning,
                audio_output: row.audio_output,
            },
            counting: Counting::from_i16(row.counting),
            cost: cost.transpose()?,
            attributes: object(&row.attributes)?,
            resource: object(&row.resource)?,
            events: list(&row.events)?,
            links: list(&row.links)?,
        })
    }
}

/// A row is not as one was written.
pub(super) fn odd(error: impl std::fmt::Display) -> Fault {
    Fault::Other(format!("a row is not as it was written: {error}"))
}

fn bytes<const N: usize>(id: &[u8]) -> [u8; N] {
    id.try_into().expect("an id has as many bytes as its type says")
}

/// A day as the engine counts them.
fn number(day: NaiveDate) -> u16 {
    let days = day.signed_duration_since(NaiveDate::default()).num_days();
    u16::try_from(days.max(0)).unwrap_or(u16::MAX - 1)
}
