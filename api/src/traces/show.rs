//! `GET /api/v1/projects/{project}/traces/{trace}`: a trace with the tree of its spans.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Span, SpanId, Tenant, TraceId};
use projections::projects::ProjectRow;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{dollars, millis, tenant};
use crate::body::Params;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// So many spans of a trace are shown.
const MOST: usize = 2000;
/// Spans deeper than this are shown beside their parent: JSON has no end of depth, its readers have.
const DEPTH: usize = 60;

/// A trace.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TraceTree)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tree {
    trace_id: String,
    /// How many spans are shown.
    spans: usize,
    /// Whether there are more.
    truncated: bool,
    /// Spans whose parent is not among them, each with those below it, in the order in which they began.
    roots: Vec<Node>,
}

/// A span.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TraceSpan)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    span_id: String,
    parent_span_id: Option<String>,
    name: String,
    /// The sender's word: `agent_run`, `chat`, `tool_call`, `server`.
    kind: String,
    /// `ok`, `error` or `unset`.
    status: &'static str,
    status_message: Option<String>,
    started_at: DateTime<Utc>,
    duration_ms: f64,
    service: Option<String>,
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    user_id: Option<String>,
    session_id: Option<String>,
    tags: Vec<String>,
    model: Option<String>,
    provider: Option<String>,
    usage: Tokens,
    /// US dollars, a decimal number; none where it is not known, or another span's.
    cost_usd: Option<String>,
    /// The price that the cost was reckoned with; `explicit` when the sender has said it.
    price: Option<String>,
    attributes: Map<String, Value>,
    resource: Map<String, Value>,
    events: Vec<Value>,
    links: Vec<Value>,
    #[schema(no_recursion)]
    children: Vec<Node>,
}

/// Tokens as they were reported: the parts are contained in `input` and `output`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TokenUsage)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tokens {
    input: i64,
    output: i64,
    cache_read: i64,
    cache_write: i64,
    audio_input: i64,
    reasoning: i64,
    audio_output: i64,
}

impl From<domain::ports::telemetry::Usage> for Tokens {
    fn from(usage: domain::ports::telemetry::Usage) -> Self {
        Self {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            audio_input: usage.audio_input,
            reasoning: usage.reasoning,
            audio_output: usage.audio_output,
        }
    }
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
) -> Result<Json<Tree>, ApiError> {
    let tree = shown(&platform, tenant(&project), params.id("trace")?).await?;
    tree.map(Json).ok_or_else(ApiError::not_found)
}

/// A trace that somebody may read; none when it is not known.
pub(super) async fn shown(
    platform: &Platform,
    tenant: Tenant,
    id: TraceId,
) -> Result<Option<Tree>, ApiError> {
    let mut spans = platform.telemetry.trace(tenant, id, MOST as i64 + 1).await?;
    if spans.is_empty() {
        return Ok(None);
    }
    let truncated = spans.len() > MOST;
    spans.truncate(MOST);
    Ok(Some(Tree { trace_id: id.to_string(), spans: spans.len(), truncated, roots: tree(spans) }))
}

/// Puts spans under their parents. Senders may say anything: what goes in a circle is still shown, from its first on.
fn tree(spans: Vec<Span>) -> Vec<Node> {
    let order: Vec<(SpanId, Option<SpanId>)> =
        spans.iter().map(|span| (span.span_id, span.parent_id)).collect();
    let mut left: HashMap<SpanId, Node> = spans.into_iter().map(|span| (span.span_id, node(span))).collect();
    let mut below: HashMap<SpanId, Vec<SpanId>> = HashMap::new();
    let mut tops = Vec::new();
    for (id, parent) in &order {
        match parent.filter(|parent| left.contains_key(parent)) {
            Some(parent) => below.entry(parent).or_default().push(*id),
            None => tops.push(*id),
        }
    }
    let mut roots = take(tops, 0, &mut below, &mut left);
    for (id, _) in order {
        roots.extend(take(vec![id], 0, &mut below, &mut left));
    }
    roots
}

/// Those of them that nobody has taken yet, each with what is below it.
fn take(
    ids: Vec<SpanId>,
    depth: usize,
    below: &mut HashMap<SpanId, Vec<SpanId>>,
    left: &mut HashMap<SpanId, Node>,
) -> Vec<Node> {
    let (mut taken, mut waiting) = (Vec::new(), VecDeque::from(ids));
    while let Some(id) = waiting.pop_front() {
        let Some(mut node) = left.remove(&id) else { continue };
        let under = below.remove(&id).unwrap_or_default();
        if depth < DEPTH {
            node.children = take(under, depth + 1, below, left);
        } else {
            under.into_iter().rev().for_each(|id| waiting.push_front(id));
        }
        taken.push(node);
    }
    taken
}

/// A span by itself.
pub(crate) fn node(span: Span) -> Node {
    Node {
        span_id: span.span_id.to_string(),
        parent_span_id: span.parent_id.map(|id| id.to_string()),
        name: span.name,
        kind: span.kind,
        status: span.status.as_str(),
        status_message: span.status_message,
        started_at: span.started_at,
        duration_ms: millis(span.duration_us),
        service: span.service,
        deployment_id: span.deployment_id,
        user_id: span.user_id,
        session_id: span.session_id,
        tags: span.tags,
        model: span.model,
        provider: span.provider,
        usage: span.usage.into(),
        cost_usd: span.cost.as_ref().map(|cost| dollars(cost.picos.into())),
        price: span.cost.map(|cost| cost.price),
        attributes: span.attributes,
        resource: span.resource,
        events: span.events,
        links: span.links,
        children: vec![],
    }
}
