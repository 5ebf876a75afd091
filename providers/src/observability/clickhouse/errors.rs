//! Errors, with those that are alike in one group.

use async_trait::async_trait;
use clickhouse::{Client, Row};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    ErrorFilter, ErrorGroup, ErrorSource, Errors, SpanId, TelemetryError, Tenant, TraceId,
};
use serde::Deserialize;
use uuid::Uuid;

use super::ClickHouseStore;
use super::fault::Fault;
use super::row::{id, moment, whole};
use super::sql::Sql;

#[async_trait]
impl Errors for ClickHouseStore {
    async fn errors(&self, tenant: Tenant, filter: &ErrorFilter) -> Result<Vec<ErrorGroup>, TelemetryError> {
        self.ask(async |client: &Client| groups(client, tenant, filter).await).await
    }
}

/// By when they were last seen, newest first.
async fn groups(client: &Client, tenant: Tenant, filter: &ErrorFilter) -> Result<Vec<ErrorGroup>, Fault> {
    // Of the last occurrence that has a trace: what is compared first stands first.
    let mut sql = Sql::new(format!(
        "SELECT error_group, error_type, countIf(of_span) AS spans, countIf(NOT of_span) AS lines,
                uniqExactIf(trace_id, has_trace) AS traces, min(at) AS first_seen, max(at) AS last_seen,
                max((has_trace, at, trace_id, span_id, error_message)) AS example,
                arraySlice(arrayReverseSort(groupUniqArrayIf(toString(assumeNotNull(deployment_id)),
                                                             deployment_id IS NOT NULL)), 1, {}) AS deployments
           FROM (",
        ErrorGroup::DEPLOYMENTS
    ));
    let sources = [(ErrorSource::Span, "spans", "started_at"), (ErrorSource::Line, "log_records", "at")];
    let wanted = sources.iter().filter(|(source, ..)| filter.source.is_none_or(|only| only == *source));
    for (n, (source, table, at)) in wanted.enumerate() {
        let of_span = *source == ErrorSource::Span;
        sql.push(if n == 0 { "" } else { " UNION ALL " }).push(&format!(
            "SELECT error_group, toString(error_type) AS error_type, error_message, {of_span} AS of_span, {at} AS at,
                    trace_id, span_id, trace_id != toFixedString('', 16) AS has_trace, deployment_id
               FROM {table} FINAL WHERE error_group != toFixedString('', 16) AND "
        ));
        matching(&mut sql, tenant, filter, at);
    }
    sql.push(") GROUP BY error_group, error_type");
    if let Some(after) = filter.after {
        sql.push(" HAVING (last_seen, error_group) < (").moment(after.last_seen).push(", toFixedString(");
        sql.bytes(after.id.as_bytes()).push(", 16))");
    }
    sql.push(" ORDER BY last_seen DESC, error_group DESC LIMIT ").number(filter.limit);
    let rows = sql.into_query(client).fetch_all::<GroupRow>().await?;
    rows.into_iter().map(ErrorGroup::try_from).collect()
}

fn matching(sql: &mut Sql, tenant: Tenant, filter: &ErrorFilter, at: &str) {
    sql.append(&Sql::of(tenant)).within(at, filter.period);
    if let Some(group) = filter.group {
        sql.push(" AND ").any_of("error_group", [group.as_bytes()]);
    }
    if let Some(text) = &filter.text {
        sql.push(" AND (positionCaseInsensitiveUTF8(error_message, ").text(text);
        sql.push(") > 0 OR positionCaseInsensitiveUTF8(error_type, ").text(text).push(") > 0)");
    }
    if let Some(deployments) = &filter.deployments {
        sql.push(" AND deployment_id IN (NULL");
        deployments.iter().for_each(|id| _ = sql.push(",").uuid(id.0));
        sql.push(")");
    }
}

#[derive(Row, Deserialize)]
struct GroupRow {
    error_group: [u8; 16],
    error_type: String,
    spans: u64,
    lines: u64,
    traces: u64,
    first_seen: i64,
    last_seen: i64,
    example: (bool, i64, [u8; 16], [u8; 8], String),
    deployments: Vec<String>,
}

impl TryFrom<GroupRow> for ErrorGroup {
    type Error = Fault;

    fn try_from(row: GroupRow) -> Result<Self, Fault> {
        let (_, _, trace, span, message) = row.example;
        Ok(Self {
            id: id(&row.error_group)?,
            kind: Some(row.error_type).filter(|kind| !kind.is_empty()),
            message,
            spans: whole(row.spans)?,
            lines: whole(row.lines)?,
            traces: whole(row.traces)?,
            first_seen: moment(row.first_seen)?,
            last_seen: moment(row.last_seen)?,
            trace_id: TraceId::try_from(&trace[..]).ok(),
            span_id: SpanId::try_from(&span[..]).ok(),
            deployments: row
                .deployments
                .iter()
                .filter_map(|id| Uuid::parse_str(id).ok().map(DeploymentId))
                .collect(),
        })
    }
}
