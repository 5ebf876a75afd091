//! Lines.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clickhouse::{Client, Row};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    Failure, LogFilter, LogPlace, LogRecord, LogRecords, Period, RecordId, Severity, SpanId, TelemetryError,
    Tenant, TraceId, Written,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ClickHouseStore;
use super::fault::Fault;
use super::look::{self, Found, Listed, NO_PART};
use super::row::{bytes, id, moment, object, some_bytes, text, told};
use super::sql::Sql;
use super::write::{Kept, Key, Table};

/// Lines are looked for in so many minutes, then in more, and at last in all that is kept.
const LOOK: [i64; 6] = [1, 10, 60, 360, 2160, 14_400];

const NEWEST_FIRST: &str = " ORDER BY at DESC, place DESC, id DESC LIMIT ";
const OLDEST_FIRST: &str = " ORDER BY at, place, id LIMIT ";

#[async_trait]
impl LogRecords for ClickHouseStore {
    async fn write_logs(&self, tenant: Tenant, lines: Vec<LogRecord>) -> Result<Written, TelemetryError> {
        self.logs.write(tenant, Arc::new(lines)).await
    }

    async fn logs(&self, tenant: Tenant, filter: &LogFilter) -> Result<Vec<LogRecord>, TelemetryError> {
        self.ask(async |client: &Client| {
            let found = older(client, tenant, filter, filter.after).await?;
            lines(client, tenant, &found).await
        })
        .await
    }

    async fn logs_around(
        &self,
        tenant: Tenant,
        id: RecordId,
        filter: &LogFilter,
    ) -> Result<Vec<LogRecord>, TelemetryError> {
        self.ask(async |client: &Client| around(client, tenant, id, filter).await).await
    }
}

/// The line, and what comes before and after it; newest first.
async fn around(
    client: &Client,
    tenant: Tenant,
    id: RecordId,
    filter: &LogFilter,
) -> Result<Vec<LogRecord>, Fault> {
    let mut sql = matching(tenant, Period::default(), &LogFilter::default());
    sql.push(" AND ").any_of("id", [id.as_bytes()]).push(NEWEST_FIRST).number(1);
    let middle = sql.into_query(client).fetch_all::<Found>().await?;
    let Some(line) = lines(client, tenant, &middle).await?.pop() else { return Ok(vec![]) };

    let place = line.place();
    let parts = look::on(filter.period, place.at, &LOOK);
    let newer = |part, left| {
        let mut sql = matching(tenant, part, filter);
        beyond(&mut sql, " > ", place).push(OLDEST_FIRST).number(left);
        sql
    };
    // The nearest first, so that they are what a page has room for.
    let found = look::gather::<Found>(client, parts, filter.limit, newer).await?;
    let mut all = lines(client, tenant, &found).await?;
    all.reverse();
    all.push(line);
    let found = older(client, tenant, filter, Some(place)).await?;
    all.extend(lines(client, tenant, &found).await?);
    Ok(all)
}

/// Newest first.
async fn older(
    client: &Client,
    tenant: Tenant,
    filter: &LogFilter,
    after: Option<LogPlace>,
) -> Result<Vec<Found>, Fault> {
    let parts = look::back(filter.period, after.map(|after| after.at), &LOOK, Utc::now());
    let question = |part, left| {
        let mut sql = matching(tenant, part, filter);
        if let Some(after) = after {
            beyond(&mut sql, " < ", after);
        }
        sql.push(NEWEST_FIRST).number(left);
        sql
    };
    look::gather(client, parts, filter.limit, question).await
}

fn matching(tenant: Tenant, period: Period, filter: &LogFilter) -> Sql {
    let mut sql = Sql::new(format!("SELECT at, id, {NO_PART} FROM log_records FINAL WHERE "));
    sql.append(&Sql::of(tenant)).within("at", period);
    if let Some(least) = filter.least {
        sql.push(" AND severity >= ").number(least.number().into());
    }
    if let Some(text) = &filter.text {
        // So that the index of the text is used.
        let text = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        sql.push(" AND lowerUTF8(message) LIKE lowerUTF8(").text(&format!("%{text}%")).push(")");
    }
    if let Some(trace) = filter.trace_id {
        sql.push(" AND ").any_of("trace_id", [trace.as_bytes()]);
    }
    if let Some(deployment) = filter.deployment_id {
        sql.push(" AND deployment_id = ").uuid(deployment.0);
    }
    sql
}

/// On one side of a place.
fn beyond<'a>(sql: &'a mut Sql, side: &str, place: LogPlace) -> &'a mut Sql {
    sql.push(" AND (at, place, id)").push(side).push("(").moment(place.at);
    sql.push(", toInt32(").number(place.place.into()).push("), toFixedString(").bytes(place.id.as_bytes());
    sql.push(", 16))")
}

async fn lines(client: &Client, tenant: Tenant, found: &[Found]) -> Result<Vec<LogRecord>, Fault> {
    look::fetch::<LogRow>(client, tenant, found).await
}

/// Its columns.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub(super) struct LogRow {
    #[serde(with = "clickhouse::serde::uuid")]
    team_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    id: [u8; 16],
    at: i64,
    place: i32,
    severity: u8,
    message: String,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    service: Option<String>,
    #[serde(with = "clickhouse::serde::uuid::option")]
    deployment_id: Option<Uuid>,
    attributes: String,
    resource: String,
    expires_on: u16,
    error_group: [u8; 16],
    error_type: String,
    error_message: String,
}

impl Kept for LogRecord {
    type Row = LogRow;
    const TABLE: Table = Table { name: "log_records", at: "at", id: "id", part: None };

    fn key(&self) -> Key {
        (bytes(self.id.as_bytes()), [0; 8])
    }

    fn at(&self) -> DateTime<Utc> {
        self.at
    }

    fn row(&self, tenant: Tenant, expires_on: u16) -> LogRow {
        let failure = told(Failure::of_line(self));
        LogRow {
            team_id: tenant.team.0,
            project_id: tenant.project.0,
            id: bytes(self.id.as_bytes()),
            at: self.at.timestamp_micros(),
            place: self.place,
            severity: self.severity.map(Severity::number).unwrap_or_default(),
            message: self.message.clone(),
            trace_id: some_bytes(self.trace_id.as_ref().map(TraceId::as_bytes)),
            span_id: some_bytes(self.span_id.as_ref().map(SpanId::as_bytes)),
            service: self.service.clone(),
            deployment_id: self.deployment_id.map(|id| id.0),
            attributes: text(&self.attributes),
            resource: text(&self.resource),
            expires_on,
            error_group: failure.0,
            error_type: failure.1,
            error_message: failure.2,
        }
    }
}

impl Listed for LogRow {
    const TABLE: &'static str = <LogRecord as Kept>::TABLE.name;

    type It = LogRecord;

    fn found(&self) -> Found {
        Found { at: self.at, id: self.id, part: [0; 8] }
    }

    fn it(self) -> Result<LogRecord, Fault> {
        let row = self;
        Ok(LogRecord {
            id: id(&row.id)?,
            at: moment(row.at)?,
            place: row.place,
            severity: Severity::from_number(row.severity.into()),
            message: row.message,
            trace_id: TraceId::try_from(&row.trace_id[..]).ok(),
            span_id: SpanId::try_from(&row.span_id[..]).ok(),
            service: row.service,
            deployment_id: row.deployment_id.map(DeploymentId),
            attributes: object(&row.attributes)?,
            resource: object(&row.resource)?,
        })
    }
}
