//! Rows in: what waits is written together, what is known is left out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use clickhouse::{Client, Row, RowOwned, RowWrite};
use domain::ports::telemetry::{TelemetryError, Tenant, Written};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::fault::Fault;
use super::row::day_number;
use super::sql::Sql;
use super::{Engine, TURN, WRITING, rollups};

/// So many batches of a table wait at most.
const WAITING: usize = 256;
/// Every insert makes a part for each of its days, which the engine has to merge: no more than so many a second.
const BEAT: Duration = Duration::from_millis(100);
/// From so many rows on, an insert takes no more.
const ROWS: usize = 20_000;
/// So many rows are asked about at a time: their ids stand in the statement, which has a largest size.
const ASKED: usize = 4000;

/// No day is rolled up before it has been over for twice as long.
const LATE: TimeDelta = TimeDelta::minutes(30);

/// What is kept in a table of its own, each once: what one project says under one key on the day of its time.
pub(super) trait Kept: Send + Sync + 'static {
    /// Its columns.
    type Row: RowOwned + RowWrite + Serialize + Send + Sync;
    /// Where it is kept.
    const TABLE: Table;

    /// Whether its days are rolled up.
    const IS_ROLLED_UP: bool = false;

    /// What it is known by.
    fn key(&self) -> Key;

    /// Its time.
    fn at(&self) -> DateTime<Utc>;

    /// As it is written, to be kept up to a day.
    fn row(self, tenant: Tenant, expires_on: u16) -> Self::Row;
}

/// An id of 16 bytes, and one of 8 that tells apart what has the same; zeros where there is none.
pub(super) type Key = ([u8; 16], [u8; 8]);

/// A table, and those of its columns that say what a row is.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Its time.
    pub(super) at: &'static str,
    /// Its key.
    pub(super) id: &'static str,
    /// The second half of its key.
    pub(super) part: Option<&'static str>,
}

/// What writes the rows of one table; it ends with its last owner.
pub(super) struct Writer<T> {
    jobs: mpsc::Sender<Job<T>>,
}

/// A batch that waits.
struct Job<T> {
    tenant: Tenant,
    rows: Vec<T>,
    answer: oneshot::Sender<Result<Written, Fault>>,
}

impl<T: Kept> Writer<T> {
    /// Begins.
    pub(super) fn start(engine: &Engine) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_all(engine.clone(), waiting));
        Self { jobs }
    }

    /// Stores what is not known yet; answers when it is on disk.
    pub(super) async fn write(&self, tenant: Tenant, rows: Vec<T>) -> Result<Written, TelemetryError> {
        if rows.is_empty() {
            return Ok(Written::default());
        }
        let (answer, answered) = oneshot::channel();
        let turn = tokio::time::timeout(TURN, self.jobs.reserve()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(TelemetryError::Busy)?;
        turn.send(Job { tenant, rows, answer });
        let written = tokio::time::timeout(WRITING, answered).await;
        written.ok().and_then(Result::ok).ok_or(TelemetryError::Busy)?.map_err(TelemetryError::from)
    }
}

/// Writes what comes, until nobody can send any more.
async fn write_all<T: Kept>(engine: Engine, mut waiting: mpsc::Receiver<Job<T>>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(first) = waiting.recv().await {
        beat.tick().await;
        let jobs = gather(first, &mut waiting);
        let (batches, answers): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.tenant, job.rows), job.answer)).unzip();
        let written = tokio::time::timeout(WRITING, write(&engine, batches)).await;
        let written = written.unwrap_or_else(|_| Err(Fault::late()));
        for (n, answer) in answers.into_iter().enumerate() {
            // Who has gone meanwhile asks again, and then it is known.
            _ = answer.send(written.as_ref().map_err(Clone::clone).and_then(|written| written[n].clone()));
        }
    }
}

/// What waits and is still waited for.
fn gather<T>(first: Job<T>, waiting: &mut mpsc::Receiver<Job<T>>) -> Vec<Job<T>> {
    let mut rows = first.rows.len();
    let mut jobs = vec![first];
    while rows < ROWS
        && let Ok(job) = waiting.try_recv()
    {
        rows += job.rows.len();
        jobs.push(job);
    }
    jobs.retain(|job| !job.answer.is_closed());
    jobs
}

/// What became of a batch.
type Became = Result<Written, Fault>;

/// Stores what is not known yet; what became of each batch. What is refused is refused to the one who brought it.
async fn write<T: Kept>(engine: &Engine, batches: Vec<(Tenant, Vec<T>)>) -> Result<Vec<Became>, Fault> {
    let client = engine.ready().await?;
    let known = known(client, &batches).await?;
    if T::IS_ROLLED_UP {
        rollups::touch(client, late(&batches, &known)).await?;
    }
    let (new, brought) = unknown(engine.days, batches, &known);
    let together = insert(client, T::TABLE.name, new.iter()).await;
    let is_alone = together.as_ref().is_err_and(Fault::is_refusal) && brought.len() > 1;
    if !is_alone {
        together?;
    }
    let mut is_stored = vec![false; new.len()];
    let mut became = Vec::new();
    for (all, mut places) in brought {
        places.retain(|place| !is_stored[*place]);
        let stored = if is_alone {
            insert(client, T::TABLE.name, places.iter().map(|place| &new[*place])).await
        } else {
            Ok(())
        };
        if stored.is_ok() {
            places.iter().for_each(|place| is_stored[*place] = true);
        }
        let written = Written { stored: places.len() as u64, repeated: (all - places.len()) as u64 };
        became.push(stored.map(|()| written));
    }
    Ok(became)
}

/// Days that may be rolled up already, of which there is something new. They are noted before it is written: whoever is cut
/// off in between has noted it.
fn late<T: Kept>(
    batches: &[(Tenant, Vec<T>)],
    known: &HashSet<Identity>,
) -> impl Iterator<Item = (Tenant, NaiveDate)> {
    let hot = (Utc::now() - LATE).date_naive();
    let mut late = HashMap::new();
    for (tenant, row) in batches.iter().flat_map(|(tenant, rows)| rows.iter().map(move |row| (tenant, row))) {
        let day = row.at().date_naive();
        if day < hot && !known.contains(&identity(*tenant, row)) {
            late.insert((tenant.team.0, tenant.project.0, day), (*tenant, day));
        }
    }
    late.into_values()
}

/// How many rows a batch has, and which of the new ones it brings.
type Brought = (usize, BTreeSet<usize>);

/// What is new, each row once, and who brings it.
fn unknown<T: Kept>(
    days: u32,
    batches: Vec<(Tenant, Vec<T>)>,
    known: &HashSet<Identity>,
) -> (Vec<T::Row>, Vec<Brought>) {
    let (mut new, mut seen, mut brought) = (Vec::new(), HashMap::new(), Vec::new());
    for (tenant, rows) in batches {
        let (all, mut places) = (rows.len(), BTreeSet::new());
        for row in rows {
            let identity = identity(tenant, &row);
            if known.contains(&identity) {
                continue;
            }
            places.insert(*seen.entry(identity).or_insert_with(|| {
                let last = row.at().date_naive().checked_add_days(Days::new(days.into()));
                new.push(row.row(tenant, day_number(last.unwrap_or(NaiveDate::MAX))));
                new.len() - 1
            }));
        }
        brought.push((all, places));
    }
    (new, brought)
}

async fn insert<'a, R: RowOwned + RowWrite + 'a>(
    client: &Client,
    table: &str,
    rows: impl ExactSizeIterator<Item = &'a R>,
) -> Result<(), Fault> {
    if rows.len() == 0 {
        return Ok(());
    }
    let insert = client.insert::<R>(table).await?;
    // Captures and late senders bring many days at once.
    let mut insert = insert.with_setting("max_partitions_per_insert_block", "0");
    for row in rows {
        insert.write(row).await?;
    }
    Ok(insert.end().await?)
}

/// What a row is: whose, its key, and its day.
type Identity = (Uuid, Key, u16);

fn identity<T: Kept>(tenant: Tenant, row: &T) -> Identity {
    (tenant.project.0, row.key(), day_number(row.at().date_naive()))
}

/// Which of these rows the engine has, on the same days.
async fn known<T: Kept>(client: &Client, batches: &[(Tenant, Vec<T>)]) -> Result<HashSet<Identity>, Fault> {
    let rows = || batches.iter().flat_map(|(_, rows)| rows);
    let keys: Vec<Key> = rows().map(Kept::key).collect::<HashSet<_>>().into_iter().collect();
    let these = of_these_days::<T>(batches.iter().map(|batch| batch.0), rows().map(Kept::at));
    let mut known = HashSet::new();
    for some in keys.chunks(ASKED) {
        let mut sql = these.clone();
        let ids: HashSet<&[u8]> = some.iter().map(|(id, _)| &id[..]).collect();
        sql.among_many(T::TABLE.id, 16, ids.into_iter());
        if let Some(part) = T::TABLE.part {
            // By themselves: what is found besides is of other traces, and rare.
            let parts: HashSet<&[u8]> = some.iter().map(|(_, part)| &part[..]).collect();
            sql.among_many(part, 8, parts.into_iter());
        }
        let rows = sql.into_query(client).fetch_all::<Known>().await?;
        known.extend(rows.into_iter().map(|row| (row.project_id, (row.id, row.part), row.day)));
    }
    Ok(known)
}

/// The keys of these tenants on these days.
fn of_these_days<T: Kept>(
    tenants: impl Iterator<Item = Tenant>,
    times: impl Iterator<Item = DateTime<Utc>>,
) -> Sql {
    let Table { name, at, id, part } = T::TABLE;
    let part = part.unwrap_or("toFixedString('', 8)");
    let mut sql = Sql::new(format!(
        "SELECT project_id, {id} AS id, {part} AS part, toDate({at}) AS day FROM {name} WHERE (team_id, project_id) IN ("
    ));
    let tenants: HashSet<_> = tenants.map(|tenant| (tenant.team.0, tenant.project.0)).collect();
    for (n, (team, project)) in tenants.into_iter().enumerate() {
        sql.push(if n == 0 { "(" } else { ",(" }).uuid(team).push(",").uuid(project).push(")");
    }
    sql.push(") AND toDate(").push(at).push(") IN (");
    let days: HashSet<_> = times.map(|at| at.date_naive()).collect();
    for (n, day) in days.into_iter().enumerate() {
        sql.push(if n == 0 { "" } else { "," }).day(day);
    }
    sql.push(")");
    sql
}

#[derive(Row, Deserialize)]
struct Known {
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    id: [u8; 16],
    part: [u8; 8],
    day: u16,
}
