//! Reads a log into an empty database, line by line, in a transaction that is committed once the last line has proved
//! all of them.

mod names;
mod rows;

use std::io::{BufRead, Read};

use domain::envelope::Metadata;
use domain::fact::StoredEvent;
use serde_json::Value;
use sqlx::PgConnection;

use self::names::Names;
use self::rows::Rows;
use super::record::{Event, Header, Process, Record, extract};
use super::{Counts, FORMAT, Hasher, Trailer, VERSION};
use crate::failure::Failure;

/// No record is longer: payload and metadata of an event are bounded.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;

/// Reads everything; nothing is committed here. Answers what the file says of itself.
pub(crate) async fn import(db: &mut PgConnection, input: &mut impl BufRead) -> Result<Trailer, Failure> {
    require_empty(db).await?;
    let mut importer = Importer::default();
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        let found = importer.take(db, &line).await;
        let at_line = |why| Failure::because(format!("line {number}: {why}"));
        match found.map_err(|failure| failure.or_because(at_line))? {
            None => {}
            Some(_) if !input.fill_buf()?.is_empty() => {
                return Err(at_line("there is more after the trailer".to_owned()));
            }
            Some(trailer) => {
                importer.finish(db).await?;
                return Ok(trailer);
            }
        }
    }
}

/// Nobody appends from here on, and nobody has. Only the owner of the log writes to it without its functions.
async fn require_empty(db: &mut PgConnection) -> Result<(), Failure> {
    sqlx::query("SET LOCAL ROLE NONE").execute(&mut *db).await?;
    sqlx::query("SELECT lock_log()").execute(&mut *db).await?;
    for table in ["events", "claims", "idempotency_keys", "work"] {
        let any = format!("SELECT EXISTS (SELECT FROM {table})");
        if sqlx::query_scalar(&any).fetch_one(&mut *db).await? {
            return Err(Failure::because(format!(
                "the log of this database is not empty (there are {table}): import into a new one"
            )));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Importer {
    hasher: Hasher,
    counts: Counts,
    /// Which kind of record came last: they come in one order.
    rank: usize,
    events: Rows,
    names: Names,
    receipts: Rows,
    keys: Rows,
    work: Rows,
    /// The highest fencing token that an event carries.
    fence: i64,
}

impl Importer {
    /// Takes a line in; answers the trailer once it has come.
    async fn take(&mut self, db: &mut PgConnection, line: &[u8]) -> Result<Option<Trailer>, Failure> {
        if !line.ends_with(b"\n") {
            return Err(Failure::because("the file ends before its trailer, or the line is too long"));
        }
        let record: Record<'_> = serde_json::from_slice(line)
            .map_err(|error| Failure::because(format!("it is no record of a log: {error}")))?;
        let rank = rank(&record);
        if rank < self.rank || (self.rank == 0 && rank != 1) || (rank == self.rank && rank == 1) {
            return Err(Failure::because("the record stands in the wrong place"));
        }
        self.rank = rank;
        if let Record::Trailer(trailer) = record {
            self.check(&trailer)?;
            return Ok(Some(trailer));
        }
        self.hasher.take(line);
        match record {
            Record::Header(header) => check_header(&header)?,
            Record::Event(event) => self.event(db, &event).await?,
            Record::Receipt(receipt) => {
                self.counts.receipts += 1;
                self.receipts.add(db, &rows::receipt(&receipt)).await?;
            }
            Record::Key(key) => {
                self.counts.keys += 1;
                self.keys.add(db, &rows::key(&key)).await?;
            }
            Record::Process(process) => {
                self.counts.processes += 1;
                set_checkpoint(db, &process).await?;
            }
            Record::Work(work) => {
                self.counts.work += 1;
                self.work.add(db, &rows::work(&work)).await?;
            }
            Record::Trailer(_) => {}
        }
        Ok(None)
    }

    async fn event(&mut self, db: &mut PgConnection, event: &Event<'_>) -> Result<(), Failure> {
        let expected = self.counts.events + 1;
        if event.position != expected {
            let found = event.position;
            return Err(Failure::because(format!("position {expected} is missing: {found} follows")));
        }
        self.counts.events = expected;
        let payload = extract(event.payload, event.payload_text.as_deref());
        let metadata = extract(event.metadata, event.metadata_text.as_deref());
        let (Some(payload), Some(metadata)) = (payload, metadata) else {
            return Err(Failure::because("the event needs one payload and one metadata"));
        };
        let stored = stored(event, payload)?;
        self.fence = self.fence.max(fence(payload)?);
        let fact = stored.read().map_err(|error| Failure::because(error.to_string()))?.fact;
        self.names.add(fact.claims(), &event.aggregate_id);
        if self.events.add(db, &rows::event(event, payload, metadata)).await? {
            self.names.store(db).await?;
        }
        Ok(())
    }

    fn check(&self, trailer: &Trailer) -> Result<(), Failure> {
        if trailer.counts != self.counts {
            let (says, has) = (&trailer.counts, &self.counts);
            return Err(Failure::because(format!("the trailer says {says:?}, the file has {has:?}")));
        }
        let sha256 = self.hasher.clone().hex();
        if trailer.sha256 != sha256 {
            return Err(Failure::because(format!(
                "the file was changed: its SHA-256 is {sha256}, the trailer says {}",
                trailer.sha256
            )));
        }
        Ok(())
    }

    /// Stores what is left, and what the events alone say.
    async fn finish(&mut self, db: &mut PgConnection) -> Result<(), Failure> {
        for rows in [&mut self.events, &mut self.receipts, &mut self.keys, &mut self.work] {
            rows.store(db).await?;
        }
        self.names.store(db).await?;
        // A fence of before the move would otherwise be above those that are given out from now on.
        sqlx::query("SELECT setval('work_fence', greatest($1, last_value)) FROM work_fence")
            .bind(self.fence + 1)
            .execute(&mut *db)
            .await?;
        let broken: Option<String> = sqlx::query_scalar(
            "SELECT aggregate_type || ' ' || aggregate_id FROM events GROUP BY aggregate_type, aggregate_id
             HAVING max(sequence) - min(sequence) + 1 <> count(*) LIMIT 1",
        )
        .fetch_optional(db)
        .await?;
        match broken {
            None => Ok(()),
            Some(stream) => Err(Failure::because(format!("the stream of {stream} has a hole"))),
        }
    }
}

fn rank(record: &Record<'_>) -> usize {
    match record {
        Record::Header(_) => 1,
        Record::Event(_) => 2,
        Record::Receipt(_) => 3,
        Record::Key(_) => 4,
        Record::Process(_) => 5,
        Record::Work(_) => 6,
        Record::Trailer(_) => 7,
    }
}

fn check_header(header: &Header) -> Result<(), Failure> {
    match (header.format.as_str(), header.version) {
        (FORMAT, VERSION) => Ok(()),
        (FORMAT, version) => Err(Failure::because(format!(
            "the file has version {version} of its format, this tool reads version {VERSION}"
        ))),
        _ => Err(Failure::because("the file is no exported log")),
    }
}

/// The fence in a payload; 0 when it has none.
fn fence(payload: &str) -> Result<i64, Failure> {
    let payload: Value =
        serde_json::from_str(payload).map_err(|_| Failure::because("the payload cannot be read"))?;
    Ok(payload["fence"].as_i64().unwrap_or(0))
}

fn stored(event: &Event<'_>, payload: &str) -> Result<StoredEvent, Failure> {
    let odd = |what: &str| Failure::because(format!("{what} cannot be read"));
    Ok(StoredEvent {
        position: event.position,
        event_id: event.event_id.parse().map_err(|_| odd("the id"))?,
        recorded_at: event.recorded_at.parse().map_err(|_| odd("the time"))?,
        team_id: event.team_id.as_deref().map(str::parse).transpose().map_err(|_| odd("the team"))?,
        aggregate_type: event.aggregate_type.clone(),
        aggregate_id: event.aggregate_id.clone(),
        sequence: event.sequence,
        event_type: event.event_type.clone(),
        event_version: event.event_version.clone(),
        payload: payload.into(),
        metadata: Metadata::default(),
    })
}

/// A process that reads here already begins anew from there; who holds its lease has lost it.
async fn set_checkpoint(db: &mut PgConnection, process: &Process) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO consumers (name, version, position) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE
            SET position = excluded.position, fence = consumers.fence + 1, lease_owner = NULL, lease_until = NULL",
    )
    .bind(&process.name)
    .bind(process.version)
    .bind(process.position)
    .execute(db)
    .await?;
    Ok(())
}
