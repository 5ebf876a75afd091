//! Days of spans, rolled up when they are over (ADR 0055).
//!
//! A roll-up is made by the questions' own SQL, from rows that are folded. It is read only while nothing was written that
//! could change what it says, and nothing has gone that it was made of; else the rows are.

mod ledger;
mod roll;

use std::collections::HashMap;

use chrono::{Days, NaiveDate};
use clickhouse::{Client, Row};
use domain::ids::{ProjectId, TeamId};
use domain::ports::telemetry::{Period, Tenant};
use serde::Deserialize;
use uuid::Uuid;

use super::fault::Fault;
use super::row::{moment, odd};
use super::schema;
use super::sql::Sql;
pub(super) use ledger::{Kind, Reading, whole};
use ledger::{Ledger, Noted, Rolled};
pub(super) use roll::keep_up;

/// Notes when days of projects were last written.
const NOTES: &str = "span_days";
/// What else a day has besides its rows.
const ROLLUPS: [&str; 3] = ["rolled_days", "trace_days", "model_days"];
/// A day that the engine knows, and nothing is kept until.
const NEVER: &str = "toDate('2149-01-01')";

/// What a question about a period reads.
pub(super) async fn reading(
    client: &Client,
    tenant: Tenant,
    kind: Kind,
    period: Period,
) -> Result<Reading, Fault> {
    let mut ledgers = ledgers(client, Some(tenant)).await?;
    let ledger = ledgers.remove(&(tenant.team.0, tenant.project.0)).unwrap_or_default();
    Ok(ledger.reading(kind, period))
}

/// Notes that rows of these days are written now: what was rolled up of them counts no more. To be called before rows are
/// changed otherwise than by an insert, and again when they are.
pub(super) async fn touch(
    client: &Client,
    days: impl IntoIterator<Item = (Tenant, NaiveDate)>,
) -> Result<(), Fault> {
    let mut sql = Sql::new(format!(
        "INSERT INTO {NOTES} (team_id, project_id, day, written_at, expires_first)
         SELECT it.1, it.2, it.3, now64(6, 'UTC'), {NEVER} FROM (SELECT arrayJoin(["
    ));
    let mut is_any = false;
    for (tenant, day) in days {
        sql.push(if is_any { ", (" } else { "(" }).uuid(tenant.team.0).push(", ");
        sql.uuid(tenant.project.0).push(", ").day(day).push(")");
        is_any = true;
    }
    if !is_any {
        return Ok(());
    }
    sql.push("]) AS it)");
    let touch = sql.into_query(client).with_setting("max_partitions_per_insert_block", "0");
    Ok(touch.execute().await?)
}

/// Before rows of days before this one go: from now on nothing that was rolled up of them, or leans on them, is read.
pub(super) async fn forget(client: &Client, tenant: Tenant, before: NaiveDate) -> Result<(), Fault> {
    for table in [NOTES].iter().chain(&ROLLUPS) {
        let mut these = Sql::of(tenant);
        these.push(" AND day < ").day(before);
        let mut some = Sql::new(format!("SELECT count() FROM {table} WHERE "));
        some.append(&these);
        if some.into_query(client).fetch_one::<u64>().await? > 0 {
            let mut drop = Sql::new(format!("DELETE FROM {table} WHERE "));
            drop.append(&these);
            drop.into_query(client).execute().await?;
        }
    }
    Ok(())
}

/// Before days go as a whole.
pub(super) async fn drop_before(client: &Client, oldest: NaiveDate) -> Result<(), Fault> {
    for table in [NOTES].iter().chain(&ROLLUPS) {
        schema::drop_before(client, table, oldest).await?;
    }
    Ok(())
}

/// What is known of days, by team and project: of one, or of all.
async fn ledgers(client: &Client, of: Option<Tenant>) -> Result<HashMap<(Uuid, Uuid), Ledger>, Fault> {
    let whose = of.map_or_else(|| Sql::new("1"), Sql::of);
    let mut noted = Sql::new(format!(
        "SELECT team_id, project_id, day AS on_day, max(written_at) AS written, min(expires_first) AS expires,
                now64(6, 'UTC') AS now FROM {NOTES} WHERE "
    ));
    noted.append(&whose).push(" GROUP BY team_id, project_id, day");
    let mut ledgers: HashMap<_, Ledger> = HashMap::new();
    for row in noted.into_query(client).fetch_all::<NotedRow>().await? {
        let ledger = ledgers.entry((row.team_id, row.project_id)).or_default();
        ledger.now = moment(row.now)?;
        let noted = Noted { written_at: moment(row.written)?, expires_first: date(row.expires)? };
        ledger.days.insert(date(row.on_day)?, noted);
    }
    let mut rolled = Sql::new(
        "SELECT team_id, project_id, toString(kind) AS what, day AS on_day, last.1 AS at, last.2 AS roll,
                last.3 AS leans_on
           FROM (SELECT team_id, project_id, kind, day, max((rolled_at, roll, leans_on)) AS last FROM rolled_days WHERE ",
    );
    rolled.append(&whose).push(" GROUP BY team_id, project_id, kind, day)");
    for row in rolled.into_query(client).fetch_all::<RolledRow>().await? {
        let Some(ledger) = ledgers.get_mut(&(row.team_id, row.project_id)) else { continue };
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == row.what);
        let kind = kind.ok_or_else(|| odd("a roll-up of no kind"))?;
        let leans_on = row.leans_on.into_iter().map(date).collect::<Result<_, _>>()?;
        let rolled = Rolled { roll: row.roll, at: moment(row.at)?, leans_on };
        ledger.rolled.insert((kind, date(row.on_day)?), rolled);
    }
    Ok(ledgers)
}

fn tenant((team, project): (Uuid, Uuid)) -> Tenant {
    Tenant { team: TeamId(team), project: ProjectId(project) }
}

/// A day, as the engine counts them.
pub(super) fn date(number: u16) -> Result<NaiveDate, Fault> {
    let day = NaiveDate::default().checked_add_days(Days::new(number.into()));
    day.ok_or_else(|| odd("a day out of range"))
}

#[derive(Row, Deserialize)]
struct NotedRow {
    #[serde(with = "clickhouse::serde::uuid")]
    team_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    on_day: u16,
    written: i64,
    expires: u16,
    now: i64,
}

#[derive(Row, Deserialize)]
struct RolledRow {
    #[serde(with = "clickhouse::serde::uuid")]
    team_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    what: String,
    on_day: u16,
    at: i64,
    #[serde(with = "clickhouse::serde::uuid")]
    roll: Uuid,
    leans_on: Vec<u16>,
}
