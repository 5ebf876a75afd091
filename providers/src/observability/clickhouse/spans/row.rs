//! A span as the engine keeps it.

use chrono::{DateTime, Utc};
use clickhouse::Row;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Cost, Counting, Failure, Span, SpanId, Status, Tenant, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::observability::clickhouse::fault::Fault;
use crate::observability::clickhouse::look::{Found, Listed};
use crate::observability::clickhouse::row::{bytes, id, moment, object, odd, some_bytes, text, told};
use crate::observability::clickhouse::write::{Kept, Key, Table};

/// Its columns.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub(in crate::observability::clickhouse) struct SpanRow {
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
    error_group: [u8; 16],
    error_type: String,
    error_message: String,
}

impl Kept for Span {
    type Row = SpanRow;
    const TABLE: Table = Table { name: "spans", at: "started_at", id: "trace_id", part: Some("span_id") };
    const IS_ROLLED_UP: bool = true;

    fn key(&self) -> Key {
        (bytes(self.trace_id.as_bytes()), bytes(self.span_id.as_bytes()))
    }

    fn at(&self) -> DateTime<Utc> {
        self.started_at
    }

    fn row(&self, tenant: Tenant, expires_on: u16) -> SpanRow {
        let failure = told(Failure::of_span(self));
        let (picos, price) =
            self.cost.as_ref().map(|cost| (i128::from(cost.picos), cost.price.clone())).unzip();
        SpanRow {
            team_id: tenant.team.0,
            project_id: tenant.project.0,
            trace_id: bytes(self.trace_id.as_bytes()),
            span_id: bytes(self.span_id.as_bytes()),
            parent_id: some_bytes(self.parent_id.as_ref().map(SpanId::as_bytes)),
            is_root: self.is_root,
            name: self.name.clone(),
            kind: self.kind.clone(),
            status: self.status.as_str().to_owned(),
            status_message: self.status_message.clone(),
            started_at: self.started_at.timestamp_micros(),
            duration_us: self.duration_us,
            service: self.service.clone(),
            deployment_id: self.deployment_id.map(|id| id.0),
            user_id: self.user_id.clone(),
            session_id: self.session_id.clone(),
            tags: self.tags.clone(),
            model: self.model.clone(),
            provider: self.provider.clone(),
            input_tokens: self.usage.input,
            output_tokens: self.usage.output,
            cache_read: self.usage.cache_read,
            cache_write: self.usage.cache_write,
            audio_input: self.usage.audio_input,
            reasoning: self.usage.reasoning,
            audio_output: self.usage.audio_output,
            counting: self.counting.as_i16(),
            cost: picos,
            price,
            attributes: text(&self.attributes),
            resource: text(&self.resource),
            events: text(&self.events),
            links: text(&self.links),
            expires_on,
            error_group: failure.0,
            error_type: failure.1,
            error_message: failure.2,
        }
    }
}

impl Listed for SpanRow {
    const TABLE: &'static str = <Span as Kept>::TABLE.name;
    const AT: &'static str = "started_at";
    const ID: &'static str = "trace_id";
    const PART: Option<&'static str> = <Span as Kept>::TABLE.part;
    type It = Span;

    fn found(&self) -> Found {
        Found { at: self.started_at, id: self.trace_id, part: self.span_id }
    }

    fn it(self) -> Result<Span, Fault> {
        let row = self;
        let cost = row.cost.zip(row.price);
        let cost = cost
            .map(|(picos, price)| Ok::<_, Fault>(Cost { picos: i64::try_from(picos).map_err(odd)?, price }));
        let list = |text: &str| serde_json::from_str::<Vec<Value>>(text).map_err(odd);
        Ok(Span {
            trace_id: id(&row.trace_id)?,
            span_id: id(&row.span_id)?,
            parent_id: SpanId::try_from(&row.parent_id[..]).ok(),
            is_root: row.is_root,
            name: row.name,
            kind: row.kind,
            status: Status::from_name(&row.status).unwrap_or_default(),
            status_message: row.status_message,
            started_at: moment(row.started_at)?,
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
