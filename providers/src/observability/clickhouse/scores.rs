//! Scores.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clickhouse::{Client, Row};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    Score, ScoreFilter, ScoreKind, Scores, SpanId, TelemetryError, Tenant, TraceId, Written,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ClickHouseStore;
use super::fault::Fault;
use super::look::{self, Found, Listed, NO_PART};
use super::row::{bytes, id, moment, object, some_bytes, text};
use super::sql::Sql;
use super::write::{Kept, Key, Table};

/// Scores are looked for in so many minutes, then in more, and at last in all that is kept.
const LOOK_BACK: [i64; 3] = [60, 1440, 14_400];

#[async_trait]
impl Scores for ClickHouseStore {
    async fn write_scores(&self, tenant: Tenant, scores: Vec<Score>) -> Result<Written, TelemetryError> {
        self.scores.write(tenant, Arc::new(scores)).await
    }

    async fn scores(&self, tenant: Tenant, filter: &ScoreFilter) -> Result<Vec<Score>, TelemetryError> {
        self.ask(async |client: &Client| find(client, tenant, filter).await).await
    }
}

/// Newest first.
async fn find(client: &Client, tenant: Tenant, filter: &ScoreFilter) -> Result<Vec<Score>, Fault> {
    let parts = look::back(filter.period, filter.after.map(|after| after.0), &LOOK_BACK, Utc::now());
    let question = |part, left| {
        let mut sql = Sql::new(format!("SELECT at, id, {NO_PART} FROM scores FINAL WHERE "));
        sql.append(&Sql::of(tenant)).within("at", part);
        of_filter(&mut sql, filter);
        sql.push(" ORDER BY at DESC, id DESC LIMIT ").number(left);
        sql
    };
    let found = look::gather::<Found>(client, parts, filter.limit, question).await?;
    look::fetch::<ScoreRow>(client, tenant, &found).await
}

fn of_filter(sql: &mut Sql, filter: &ScoreFilter) {
    if let Some(kind) = filter.kind {
        sql.push(" AND kind = ").text(kind.as_str());
    }
    if let Some(name) = &filter.name {
        sql.push(" AND name = ").text(name);
    }
    if let Some(trace) = filter.trace_id {
        sql.push(" AND ").any_of("trace_id", [trace.as_bytes()]);
    }
    if let Some((at, id)) = filter.after {
        sql.push(" AND (at, id) < (").moment(at).push(", toFixedString(").bytes(id.as_bytes()).push(", 16))");
    }
}

/// Its columns.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub(super) struct ScoreRow {
    #[serde(with = "clickhouse::serde::uuid")]
    team_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    id: [u8; 16],
    kind: String,
    at: i64,
    name: String,
    value: Option<f64>,
    text: Option<String>,
    comment: Option<String>,
    source: Option<String>,
    user_id: Option<String>,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    #[serde(with = "clickhouse::serde::uuid::option")]
    deployment_id: Option<Uuid>,
    details: String,
    expires_on: u16,
}

impl Kept for Score {
    type Row = ScoreRow;
    const TABLE: Table = Table { name: "scores", at: "at", id: "id", part: None };

    fn key(&self) -> Key {
        (bytes(self.id.as_bytes()), [0; 8])
    }

    fn at(&self) -> DateTime<Utc> {
        self.at
    }

    fn row(&self, tenant: Tenant, expires_on: u16) -> ScoreRow {
        ScoreRow {
            team_id: tenant.team.0,
            project_id: tenant.project.0,
            id: bytes(self.id.as_bytes()),
            kind: self.kind.as_str().to_owned(),
            at: self.at.timestamp_micros(),
            name: self.name.clone(),
            value: self.value,
            text: self.text.clone(),
            comment: self.comment.clone(),
            source: self.source.clone(),
            user_id: self.user_id.clone(),
            trace_id: some_bytes(self.trace_id.as_ref().map(TraceId::as_bytes)),
            span_id: some_bytes(self.span_id.as_ref().map(SpanId::as_bytes)),
            deployment_id: self.deployment_id.map(|id| id.0),
            details: text(&self.details),
            expires_on,
        }
    }
}

impl Listed for ScoreRow {
    const TABLE: &'static str = <Score as Kept>::TABLE.name;

    type It = Score;

    fn found(&self) -> Found {
        Found { at: self.at, id: self.id, part: [0; 8] }
    }

    fn it(self) -> Result<Score, Fault> {
        let row = self;
        Ok(Score {
            id: id(&row.id)?,
            kind: ScoreKind::from_name(&row.kind).unwrap_or_default(),
            at: moment(row.at)?,
            name: row.name,
            value: row.value,
            text: row.text,
            comment: row.comment,
            source: row.source,
            user_id: row.user_id,
            trace_id: TraceId::try_from(&row.trace_id[..]).ok(),
            span_id: SpanId::try_from(&row.span_id[..]).ok(),
            deployment_id: row.deployment_id.map(DeploymentId),
            details: object(&row.details)?,
        })
    }
}
