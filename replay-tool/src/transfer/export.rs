//! Writes a log, record by record: whatever its length, one line of it is in memory.

use std::io::Write;

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::record::{Event, Header, Key, Process, Receipt, Record, Work, embed};
use super::{Counts, FORMAT, Hasher, Trailer, VERSION};
use crate::failure::Failure;

/// Times to the microsecond, whatever the session's own form of them is.
macro_rules! time {
    ($column:literal) => {
        concat!("to_char(", $column, " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    };
}

const EVENTS: &str = concat!(
    "SELECT position, event_id::text, ",
    time!("recorded_at"),
    " AS recorded_at, team_id::text, aggregate_type, aggregate_id, sequence, event_type, event_version, \
      payload::text, metadata::text FROM events WHERE position <= $1 ORDER BY position"
);
const RECEIPTS: &str = concat!(
    "SELECT scope, key, request_hash, aggregate_type, aggregate_id, version, position, ",
    time!("recorded_at"),
    " AS recorded_at FROM idempotency_keys WHERE position <= $1 ORDER BY position, scope, key"
);
const KEYS: &str = concat!(
    "SELECT owner, provider, encode(wrapped, 'hex') AS wrapped, ",
    time!("created_at"),
    " AS created_at, ",
    time!("destroyed_at"),
    " AS destroyed_at FROM data_keys ORDER BY owner"
);
const PROCESSES: &str = "SELECT name, version, least(position, $1) AS position FROM consumers \
    WHERE name <> ALL($2) ORDER BY name";
const WORK: &str = concat!(
    "SELECT id::text, process, key, lane, payload::text, ",
    time!("run_at"),
    " AS run_at, attempts, cause_event::text, cause_position, correlation, ",
    time!("created_at"),
    " AS created_at FROM work WHERE state IN ('ready', 'running') AND cause_position <= $1 \
      ORDER BY cause_position, id"
);

/// Writes the log up to `until`. Runs in a transaction of its own that sees one moment.
pub(crate) async fn export(
    db: &mut PgConnection,
    until: i64,
    with_keys: bool,
    out: &mut impl Write,
) -> Result<Trailer, Failure> {
    let mut writer = Writer { out, hasher: Hasher::default() };
    writer.line(&Record::Header(Header { format: FORMAT.to_owned(), version: VERSION }))?;
    let mut counts = Counts { events: writer.events(db, until).await?, ..Counts::default() };
    let mut rows = sqlx::query(RECEIPTS).bind(until).fetch(&mut *db);
    while let Some(row) = rows.try_next().await? {
        writer.line(&Record::Receipt(receipt(&row)?))?;
        counts.receipts += 1;
    }
    drop(rows);
    if with_keys {
        let mut rows = sqlx::query(KEYS).fetch(&mut *db);
        while let Some(row) = rows.try_next().await? {
            writer.line(&Record::Key(key(&row)?))?;
            counts.keys += 1;
        }
    }
    let read_models: Vec<&str> = projections::read_models().iter().map(|model| model.name()).collect();
    for row in sqlx::query(PROCESSES).bind(until).bind(read_models).fetch_all(&mut *db).await? {
        let (name, version, position) =
            (row.try_get("name")?, row.try_get("version")?, row.try_get("position")?);
        writer.line(&Record::Process(Process { name, version, position }))?;
        counts.processes += 1;
    }
    let mut rows = sqlx::query(WORK).bind(until).fetch(&mut *db);
    while let Some(row) = rows.try_next().await? {
        writer.line(&Record::Work(Box::new(work(&row)?)))?;
        counts.work += 1;
    }
    drop(rows);
    let trailer = Trailer { counts, sha256: std::mem::take(&mut writer.hasher).hex() };
    writer.line(&Record::Trailer(trailer.clone()))?;
    writer.out.flush()?;
    Ok(trailer)
}

struct Writer<'a, W> {
    out: &'a mut W,
    hasher: Hasher,
}

impl<W: Write> Writer<'_, W> {
    fn line(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(record).expect("records serialise");
        line.push(b'\n');
        self.hasher.take(&line);
        Ok(self.out.write_all(&line)?)
    }

    /// Answers how many there were; what is not a whole log from its first event is not written.
    async fn events(&mut self, db: &mut PgConnection, until: i64) -> Result<i64, Failure> {
        let mut rows = sqlx::query(EVENTS).bind(until).fetch(db);
        let mut last = 0;
        while let Some(row) = rows.try_next().await? {
            let position: i64 = row.try_get("position")?;
            if position != last + 1 {
                return Err(Failure::because(format!("the log has a hole after position {last}")));
            }
            last = position;
            let (payload, metadata): (&str, &str) = (row.try_get("payload")?, row.try_get("metadata")?);
            let (payload, payload_text) = embed(payload);
            let (metadata, metadata_text) = embed(metadata);
            self.line(&Record::Event(Box::new(Event {
                position,
                event_id: row.try_get("event_id")?,
                recorded_at: row.try_get("recorded_at")?,
                team_id: row.try_get("team_id")?,
                aggregate_type: row.try_get("aggregate_type")?,
                aggregate_id: row.try_get("aggregate_id")?,
                sequence: row.try_get("sequence")?,
                event_type: row.try_get("event_type")?,
                event_version: row.try_get("event_version")?,
                payload,
                payload_text,
                metadata,
                metadata_text,
            })))?;
        }
        Ok(last)
    }
}

fn receipt(row: &PgRow) -> sqlx::Result<Receipt> {
    Ok(Receipt {
        scope: row.try_get("scope")?,
        key: row.try_get("key")?,
        request_hash: row.try_get("request_hash")?,
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        version: row.try_get("version")?,
        position: row.try_get("position")?,
        recorded_at: row.try_get("recorded_at")?,
    })
}

fn key(row: &PgRow) -> sqlx::Result<Key> {
    Ok(Key {
        owner: row.try_get("owner")?,
        provider: row.try_get("provider")?,
        wrapped: row.try_get("wrapped")?,
        created_at: row.try_get("created_at")?,
        destroyed_at: row.try_get("destroyed_at")?,
    })
}

fn work(row: &PgRow) -> sqlx::Result<Work> {
    Ok(Work {
        id: row.try_get("id")?,
        process: row.try_get("process")?,
        key: row.try_get("key")?,
        lane: row.try_get("lane")?,
        payload: row.try_get("payload")?,
        run_at: row.try_get("run_at")?,
        attempts: row.try_get("attempts")?,
        cause_event: row.try_get("cause_event")?,
        cause_position: row.try_get("cause_position")?,
        correlation: row.try_get("correlation")?,
        created_at: row.try_get("created_at")?,
    })
}
