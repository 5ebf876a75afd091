//! Rolls up what is due. Several servers may do so at once: each makes roll-ups of its own, and the last of a day counts.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use clickhouse::{Client, Row};
use domain::ports::telemetry::Tenant;
use serde::Deserialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::ledger::{Kind, Ledger, whole};
use super::{NOTES, ROLLUPS, ledgers, tenant};
use crate::observability::clickhouse::fault::Fault;
use crate::observability::clickhouse::spans;
use crate::observability::clickhouse::sql::Sql;

/// How long one day of one project may take.
const ROLLING: &str = "60";
/// How long all of them may; what is left is rolled up an hour later.
const ENOUGH: Duration = Duration::from_secs(50);
/// So many that cannot be rolled up are passed over.
const FAILED: usize = 3;
/// So many that others have replaced are taken away at once.
const SWEPT: i64 = 1000;

/// Whose note says that all of a day are noted.
const NOBODY: (Uuid, Uuid) = (Uuid::nil(), Uuid::nil());

/// Rolls up the days that are due.
pub(in crate::observability::clickhouse) async fn keep_up(
    client: &Client,
    now: DateTime<Utc>,
) -> Result<u64, Fault> {
    let until = Instant::now() + ENOUGH;
    note(client, now).await?;
    let (mut rolled, mut failed) = (0, 0);
    let ledgers = ledgers(client, None).await?;
    for (whose, ledger) in ledgers.into_iter().filter(|(whose, _)| *whose != NOBODY) {
        for kind in Kind::ALL {
            for day in ledger.due(kind, now) {
                if Instant::now() > until {
                    return Ok(rolled);
                }
                match roll(client, (tenant(whose), kind, day), &ledger).await {
                    Ok(()) => rolled += 1,
                    Err(error) if failed == FAILED => return Err(error),
                    Err(error) => {
                        failed += 1;
                        tracing::warn!(%error, project.id = %whose.1, "{day} of {} is not rolled up yet: {error}", whose.1);
                    }
                }
            }
        }
    }
    sweep(client).await?;
    Ok(rolled)
}

/// Notes whose rows there are on days that are over: those of before days were noted, and of an insert that was cut off. A
/// day where that is done has a note of nobody.
async fn note(client: &Client, now: DateTime<Utc>) -> Result<(), Fault> {
    let mut sql = Sql::new(format!(
        "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase() AND active AND table = 'spans'
            AND partition NOT IN (SELECT toString(day) FROM {NOTES} WHERE team_id = toUUID('{nobody}')) AND partition < ",
        nobody = NOBODY.0,
    ));
    sql.text(&now.date_naive().to_string()).push(" ORDER BY partition");
    for text in sql.into_query(client).fetch_all::<String>().await? {
        let Ok(day) = text.parse::<NaiveDate>() else { continue };
        let mut those = Sql::new(format!(
            "INSERT INTO {NOTES} (team_id, project_id, day, written_at, expires_first)
             SELECT team_id, project_id, toDate(started_at) AS on_day, now64(6, 'UTC'), min(expires_on) FROM spans WHERE 1"
        ));
        those
            .within("started_at", whole(day))
            .push(" AND (team_id, project_id) NOT IN (SELECT team_id, project_id FROM ");
        those.push(NOTES).push(" WHERE day = ").day(day).push(") GROUP BY team_id, project_id, on_day");
        those.into_query(client).with_setting("max_execution_time", ROLLING).execute().await?;
        super::touch(client, [(tenant(NOBODY), day)]).await?;
    }
    Ok(())
}

/// Rolls up a day. It counts when it is whole: who is killed before that leaves rows that nobody reads.
async fn roll(
    client: &Client,
    (tenant, kind, day): (Tenant, Kind, NaiveDate),
    ledger: &Ledger,
) -> Result<(), Fault> {
    let roll = Uuid::now_v7();
    let expires = ledger.days.get(&day).map_or(day, |noted| noted.expires_first);
    // First what it leans on: what goes from here on takes the roll-up with it.
    let mut leans_on = ledger.leans(kind, day);
    if kind == Kind::Traces {
        leans_on = roots_before(client, tenant, day).await?;
    }
    let head = |sql: &mut Sql| {
        sql.uuid(tenant.team.0).push(", ").uuid(tenant.project.0).push(", ").day(day).push(", ").uuid(roll);
    };
    let mut sql = match kind {
        Kind::Traces => Sql::new(
            "INSERT INTO trace_days (team_id, project_id, day, roll, expires_on, traces, errors, total, durations) SELECT ",
        ),
        Kind::Models => Sql::new(
            "INSERT INTO model_days (team_id, project_id, day, roll, expires_on, has_model, model, has_provider, provider, calls, no_cost, cost_all, input, output, cache_read, cache_write, audio_input, reasoning, audio_output) SELECT ",
        ),
    };
    head(&mut sql);
    sql.push(", ").day(expires);
    match kind {
        Kind::Traces => {
            sql.push(", traces, errors, total, arraySort(durations) FROM (");
            sql.append(&spans::first_roots(tenant, &[whole(day)]));
        }
        Kind::Models => {
            sql.push(
                ", model IS NOT NULL, ifNull(model, ''), provider IS NOT NULL, ifNull(provider, ''), calls, no_cost, cost_all,
                 input, output, cache_read, cache_write, audio_input, reasoning, audio_output FROM (",
            );
            sql.append(&spans::calls_by_model(tenant, &[whole(day)]));
        }
    }
    sql.push(")");
    sql.into_query(client).with_setting("max_execution_time", ROLLING).execute().await?;
    let mut sql = Sql::new(
        "INSERT INTO rolled_days (team_id, project_id, day, roll, expires_on, kind, rolled_at, leans_on) SELECT ",
    );
    head(&mut sql);
    sql.push(", ").day(expires).push(", ").text(kind.name()).push(", ").moment(ledger.now);
    sql.push(", CAST([");
    for (n, day) in leans_on.into_iter().enumerate() {
        sql.push(if n == 0 { "" } else { ", " }).day(day);
    }
    sql.push("], 'Array(Date)')");
    Ok(sql.into_query(client).execute().await?)
}

/// The days before this one that have roots of its traces.
async fn roots_before(client: &Client, tenant: Tenant, day: NaiveDate) -> Result<Vec<NaiveDate>, Fault> {
    let mut sql = Sql::new("SELECT DISTINCT toDate(started_at) AS on_day FROM spans WHERE ");
    sql.append(&Sql::of(tenant)).push(" AND NOT below AND toDate(started_at) < ").day(day);
    sql.push(" AND trace_id IN (SELECT trace_id FROM spans WHERE ").append(&Sql::of(tenant));
    sql.push(" AND NOT below").within("started_at", whole(day)).push(")");
    let days = sql.into_query(client).with_setting("max_execution_time", ROLLING).fetch_all::<u16>().await?;
    days.into_iter().map(super::date).collect()
}

#[derive(Row, Deserialize)]
struct Old {
    #[serde(with = "clickhouse::serde::uuid")]
    roll: Uuid,
}

/// Takes away what was rolled up anew since, when nobody can be reading it any more.
async fn sweep(client: &Client) -> Result<(), Fault> {
    let mut sql = Sql::new(
        "SELECT roll FROM (SELECT roll, rolled_at, max(rolled_at) OVER (PARTITION BY team_id, project_id, kind, day) AS last
                             FROM rolled_days)
          WHERE rolled_at < last AND rolled_at < now64(6, 'UTC') - toIntervalHour(1) LIMIT ",
    );
    sql.number(SWEPT);
    let old = sql.into_query(client).fetch_all::<Old>().await?;
    if old.is_empty() {
        return Ok(());
    }
    let mut those = Sql::new(" WHERE roll IN (");
    for (n, old) in old.into_iter().enumerate() {
        those.push(if n == 0 { "" } else { ", " }).uuid(old.roll);
    }
    those.push(")");
    // What says that they are whole goes last, so that what is left of them is found again.
    for table in ROLLUPS.iter().rev() {
        let mut drop = Sql::new(format!("DELETE FROM {table}"));
        drop.append(&those);
        drop.into_query(client).execute().await?;
    }
    Ok(())
}
