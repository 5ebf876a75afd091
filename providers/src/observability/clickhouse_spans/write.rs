//! Rows in: what waits is written together, what is known is left out.

use std::collections::HashSet;
use std::time::Duration;

use clickhouse::{Client, Row};
use domain::ports::telemetry::{Span, Tenant, TraceId, Written};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::fault::Fault;
use super::row::{Identity, SpanRow, identity};
use super::sql::Sql;
use super::{Engine, WRITING};

/// Every insert makes a part for each of its days, which the engine has to merge: no more than so many a second.
const BEAT: Duration = Duration::from_millis(100);
/// From so many rows on, an insert takes no more.
const ROWS: usize = 20_000;
/// So many spans are asked about at a time: their ids stand in the statement, which has a largest size.
const ASKED: usize = 800;

/// A batch that waits.
pub(super) struct Job {
    pub(super) tenant: Tenant,
    pub(super) spans: Vec<Span>,
    pub(super) answer: oneshot::Sender<Result<Written, Fault>>,
}

/// Writes what comes, until nobody can send any more.
pub(super) async fn write_all(engine: Engine, mut waiting: mpsc::Receiver<Job>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(first) = waiting.recv().await {
        beat.tick().await;
        let jobs = gather(first, &mut waiting);
        let (batches, answers): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.tenant, job.spans), job.answer)).unzip();
        let written = tokio::time::timeout(WRITING, write(&engine, batches)).await;
        let written = written.unwrap_or_else(|_| Err(Fault::late()));
        for (n, answer) in answers.into_iter().enumerate() {
            // Who has gone meanwhile asks again, and then it is known.
            _ = answer.send(written.as_ref().map(|written| written[n]).map_err(Clone::clone));
        }
    }
}

/// What waits and is still waited for.
fn gather(first: Job, waiting: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut rows = first.spans.len();
    let mut jobs = vec![first];
    while rows < ROWS
        && let Ok(job) = waiting.try_recv()
    {
        rows += job.spans.len();
        jobs.push(job);
    }
    jobs.retain(|job| !job.answer.is_closed());
    jobs
}

/// Stores what is not known yet; what became of each batch.
async fn write(engine: &Engine, batches: Vec<(Tenant, Vec<Span>)>) -> Result<Vec<Written>, Fault> {
    let client = engine.ready().await?;
    let mut known = known(client, &batches).await?;
    let (mut rows, mut written) = (Vec::new(), Vec::new());
    for (tenant, spans) in batches {
        let (all, before) = (spans.len(), rows.len());
        let new = spans.into_iter().filter(|span| known.insert(identity(tenant, span)));
        rows.extend(new.map(|span| SpanRow::new(tenant, span, engine.days)));
        let stored = rows.len() - before;
        written.push(Written { stored: stored as u64, repeated: (all - stored) as u64 });
    }
    if !rows.is_empty() {
        insert(client, &rows).await?;
    }
    Ok(written)
}

async fn insert(client: &Client, rows: &[SpanRow]) -> Result<(), Fault> {
    let insert = client.insert::<SpanRow>("spans").await?;
    // Captures and late senders bring many days at once.
    let mut insert = insert.with_setting("max_partitions_per_insert_block", "0");
    for row in rows {
        insert.write(row).await?;
    }
    Ok(insert.end().await?)
}

/// Which of these spans the engine has, on the same days.
async fn known(client: &Client, batches: &[(Tenant, Vec<Span>)]) -> Result<HashSet<Identity>, Fault> {
    let mut tenants: Vec<Tenant> = batches.iter().map(|batch| batch.0).collect();
    tenants.sort_by_key(|tenant| tenant.project);
    tenants.dedup();
    let spans = || batches.iter().flat_map(|(_, spans)| spans);
    let ids: HashSet<_> = spans().map(|span| (span.trace_id, span.span_id)).collect();
    let days: HashSet<_> = spans().map(|span| span.started_at.date_naive()).collect();
    let mut these = Sql::new(
        "SELECT project_id, trace_id, span_id, toDate(started_at) AS day FROM spans WHERE (team_id, project_id) IN (",
    );
    for (n, tenant) in tenants.iter().enumerate() {
        these.push(if n == 0 { "(" } else { ",(" }).uuid(tenant.team.0).push(",");
        these.uuid(tenant.project.0).push(")");
    }
    these.push(") AND toDate(started_at) IN (");
    for (n, day) in days.into_iter().enumerate() {
        these.push(if n == 0 { "" } else { "," }).day(day);
    }
    these.push(")");
    let ids: Vec<_> = ids.into_iter().collect();
    let mut known = HashSet::new();
    for some in ids.chunks(ASKED) {
        let mut sql = these.clone();
        // The traces by themselves: what the engine finds fast by.
        let traces: HashSet<&TraceId> = some.iter().map(|(trace, _)| trace).collect();
        sql.among(traces).push(" AND (trace_id, span_id) IN (");
        for (n, (trace, span)) in some.iter().enumerate() {
            sql.push(if n == 0 { "(" } else { ",(" }).bytes(trace.as_bytes()).push(",");
            sql.bytes(span.as_bytes()).push(")");
        }
        sql.push(")");
        let rows = sql.into_query(client).fetch_all::<Known>().await?;
        known.extend(rows.iter().map(|row| (row.project_id, row.trace_id, row.span_id, row.day)));
    }
    Ok(known)
}

#[derive(Row, Deserialize)]
struct Known {
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    day: u16,
}
