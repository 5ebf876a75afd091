//! `/metrics`: what is counted as it happens, and what is looked at when somebody asks. The table of all of them is
//! in `docs/operating.md`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header;
use metrics::{counter, gauge};
use projections::feed::Progress;
use projections::generations::{self, Generation};
use projections::{pool, work};
use sqlx::PgPool;

use crate::platform::Platform;

/// Work that is taken up so much later than it could be is late.
const PATIENCE: Duration = Duration::from_secs(10);
/// The states of work, so that one that no row is in any more is zero, not what it was.
const STATES: [&str; 4] = ["ready", "running", "done", "dead"];

pub(crate) async fn handler(State(platform): State<Arc<Platform>>) -> Response {
    of_telemetry(&platform);
    // What cannot be looked at now keeps its last value; `/api/health` says that the database is away.
    if let Err(error) = look(&platform).await {
        tracing::debug!(%error, "metrics could not be looked at");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], platform.metrics.render()).into_response()
}

async fn look(platform: &Platform) -> sqlx::Result<()> {
    let consumers = platform.feed.progress().await?;
    let generations = generations::list(&platform.pool).await?;
    for consumer in &consumers {
        of_consumer(consumer, (platform.now)());
        if consumer.is_read_model {
            of_rebuild(consumer, &generations);
        }
    }
    let kept = generations.iter().filter(|found| found.state == "kept").count();
    gauge!("mastra_admin_generations_kept").set(kept as f64);
    of_work(&platform.pool, &consumers).await?;
    of_ledger(platform).await?;
    let oldest = pool::oldest_transaction(&platform.pool).await?;
    gauge!("mastra_admin_oldest_transaction_seconds").set(oldest);
    Ok(())
}

/// How much of the log no checkpoint covers yet, and how old what the anchors know is.
async fn of_ledger(platform: &Platform) -> sqlx::Result<()> {
    let mut db = platform.pool.acquire().await?;
    let status = projections::ledger::status(&mut db)
        .await
        .map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    let seconds = |at: DateTime<Utc>| ((platform.now)() - at).as_seconds_f64().max(0.0);
    gauge!("mastra_admin_ledger_lag_events").set((status.head - status.size) as f64);
    if let Some(at) = status.at {
        gauge!("mastra_admin_ledger_checkpoint_age_seconds").set(seconds(at));
    }
    for anchor in status.anchors {
        gauge!("mastra_admin_ledger_anchor_age_seconds", "anchor" => anchor.name).set(seconds(anchor.at));
    }
    Ok(())
}

/// Telemetry that waits on disk for its store.
fn of_telemetry(platform: &Platform) {
    let backlog = platform.telemetry.backlog();
    let age = backlog.oldest.map_or(0.0, |oldest| ((platform.now)() - oldest).as_seconds_f64().max(0.0));
    gauge!("mastra_admin_telemetry_waiting_rows").set(backlog.rows as f64);
    gauge!("mastra_admin_telemetry_waiting_bytes").set(backlog.bytes as f64);
    gauge!("mastra_admin_telemetry_waiting_seconds").set(age);
    gauge!("mastra_admin_telemetry_set_aside_rows").set(backlog.set_aside as f64);
    counter!("mastra_admin_telemetry_late_rows", "became" => "stored").absolute(backlog.stored);
    counter!("mastra_admin_telemetry_late_rows", "became" => "repeated").absolute(backlog.repeated);
    counter!("mastra_admin_telemetry_refused_rows").absolute(backlog.refused);
}

fn of_consumer(consumer: &Progress, now: DateTime<Utc>) {
    let since = |then: Option<DateTime<Utc>>| then.map_or(0.0, |then| (now - then).as_seconds_f64().max(0.0));
    let label = || consumer.name.clone();
    gauge!("mastra_admin_consumer_lag_events", "consumer" => label()).set(consumer.lag as f64);
    gauge!("mastra_admin_consumer_lag_seconds", "consumer" => label()).set(since(consumer.behind_since));
    let stalled = since(consumer.stalled.as_ref().map(|stall| stall.since));
    gauge!("mastra_admin_consumer_stalled_seconds", "consumer" => label()).set(stalled);
    gauge!("mastra_admin_consumer_paused", "consumer" => label())
        .set(f64::from(u8::from(consumer.is_paused)));
    gauge!("mastra_admin_dead_letters", "consumer" => label()).set(consumer.parked as f64);
}

/// How much of the log a rebuild that is under way, or was interrupted, has taken in; 1 when there is none.
fn of_rebuild(consumer: &Progress, generations: &[Generation]) {
    let building =
        generations.iter().find(|found| found.consumer == consumer.name && found.state == "building");
    let ratio = building.map_or(1.0, |found| found.position as f64 / consumer.head.max(1) as f64);
    gauge!("mastra_admin_rebuild_progress_ratio", "consumer" => consumer.name.clone()).set(ratio);
}

async fn of_work(db: &PgPool, consumers: &[Progress]) -> sqlx::Result<()> {
    let counts = work::counts(db).await?;
    let overdue = work::overdue(db, PATIENCE).await?;
    for process in consumers.iter().filter(|consumer| !consumer.is_read_model).map(|found| &found.name) {
        for state in STATES {
            let found = counts.iter().find(|count| count.process == *process && count.state == state);
            let rows = found.map_or(0, |count| count.rows);
            gauge!("mastra_admin_work_rows", "process" => process.clone(), "state" => state).set(rows as f64);
        }
        let late = overdue.iter().find(|(name, ..)| name == process);
        let (rows, seconds) = late.map_or((0, 0.0), |(_, rows, seconds)| (*rows, *seconds));
        gauge!("mastra_admin_timers_overdue", "process" => process.clone()).set(rows as f64);
        gauge!("mastra_admin_timers_overdue_seconds", "process" => process.clone()).set(seconds);
    }
    Ok(())
}
