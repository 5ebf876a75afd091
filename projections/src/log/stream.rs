//! The log as one stream of many events, for who reads all of it: a binary COPY on a connection of its own.

use chrono::DateTime;
use domain::fact::{Recorded, StoredEvent};
use domain::upcast::Upcast;
use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::rebuild::RebuildError;

/// Events that are handed over at once.
const BATCH: usize = 500;
/// Batches that are read and not taken yet, at most.
const AHEAD: usize = 8;
/// Bytes of payload in a batch, at most, but for the last event's.
const BATCH_BYTES: usize = 1 << 20;

/// So few events are found by their kinds and put in order: there is no need to walk through the whole log.
const FEW: i64 = 10_000;

/// The columns as COPY sends them: JSON is text.
const COLUMNS: &str = "position, event_id, recorded_at, team_id, aggregate_type, aggregate_id, sequence, \
                       event_type, event_version, payload, metadata";

/// Which events of the log are read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Which {
    /// Those of these kinds of aggregates; of all when empty.
    pub(crate) kinds: &'static [&'static str],
    /// But not those of these types.
    pub(crate) but: &'static [&'static str],
}

impl Which {
    /// As a condition. What becomes something else on its way is not left out for what it was.
    fn condition(self, steps: &[Upcast]) -> String {
        let quoted = |names: &[&str]| format!("'{}'", names.join("', '"));
        let mut condition = match self.kinds {
            [] => "true".to_owned(),
            kinds => format!("aggregate_type IN ({})", quoted(kinds)),
        };
        let changes = |name: &&str| steps.iter().any(|step| step.event_type == *name);
        let but: Vec<_> = self.but.iter().copied().filter(|name| !changes(name)).collect();
        if !but.is_empty() {
            condition.push_str(&format!(" AND event_type NOT IN ({})", quoted(&but)));
        }
        condition
    }
}

/// Midnight of 2000-01-01, from which PostgreSQL counts, in microseconds of the Unix epoch.
const EPOCH: i64 = 946_684_800_000_000;
/// What a stream begins with: signature, flags, length of an extension there is none of.
const HEADER: usize = 19;

type Read = Result<Vec<Recorded>, RebuildError>;

/// Events on their way from the log.
pub(crate) struct LogStream {
    batches: mpsc::Receiver<Read>,
    reader: JoinHandle<()>,
    /// Whether the end was reached.
    is_read: bool,
    /// Up to where.
    to: i64,
}

impl LogStream {
    /// The events after `from` and up to `to`, in order: all of them, or only some. That none of all is missing is
    /// checked meanwhile: the end does not come before.
    pub(crate) async fn open(
        pool: &PgPool,
        from: i64,
        to: i64,
        which: Which,
        steps: &'static [Upcast],
    ) -> Result<Self, RebuildError> {
        let (mut db, other) = (connect(pool).await?, connect(pool).await?);
        let condition = which.condition(steps);
        let source = if are_few(&mut db, which.kinds).await? {
            format!("(SELECT {COLUMNS} FROM events WHERE {condition} OFFSET 0) few")
        } else {
            // By position, whatever the planner makes of a table without statistics: nothing is sorted.
            sqlx::raw_sql("SET enable_sort = off; SET enable_bitmapscan = off").execute(&mut db).await?;
            format!("(SELECT {COLUMNS} FROM events WHERE {condition}) several")
        };
        let statement = format!(
            "COPY (SELECT {COLUMNS} FROM {source} WHERE position > {from} AND position <= {to} ORDER BY position)
               TO STDOUT (FORMAT binary)"
        );
        let (sender, batches) = mpsc::channel(AHEAD);
        let reader = tokio::spawn(async move {
            let done = tokio::try_join!(read(db, &statement, steps, &sender), count(other, from, to));
            let missing = match done {
                Ok((true, ())) => return,
                Ok((false, ())) => {
                    RebuildError::Unreadable { position: to, why: "the log ended before its end".to_owned() }
                }
                Err(error) => error,
            };
            let _nobody_waits = sender.send(Err(missing)).await;
        });
        Ok(Self { batches, reader, is_read: false, to })
    }

    /// The next events; none at the end, which is none when the reader has not come there.
    pub(crate) async fn next(&mut self) -> Option<Read> {
        let next = self.batches.recv().await;
        if next.is_none()
            && !self.is_read
            && let Err(error) = (&mut self.reader).await
        {
            return Some(Err(RebuildError::Unreadable { position: self.to, why: error.to_string() }));
        }
        self.is_read = next.is_none();
        next
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A connection on which it takes as long as it takes.
async fn connect(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let mut db = crate::pool::alone(pool).await?;
    let settings = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";
    sqlx::raw_sql(settings).execute(&mut db).await?;
    Ok(db)
}

/// Whether the log has few events of these kinds. It is not counted further than that, in an index.
async fn are_few(db: &mut PgConnection, kinds: &[&str]) -> sqlx::Result<bool> {
    if kinds.is_empty() {
        return Ok(false);
    }
    sqlx::raw_sql("SET enable_seqscan = off").execute(&mut *db).await?;
    sqlx::query_scalar(
        "SELECT count(*) <= $2 FROM (SELECT FROM events WHERE aggregate_type = ANY($1) LIMIT $2 + 1) found",
    )
    .bind(kinds)
    .bind(FEW)
    .fetch_one(db)
    .await
}

/// Counts the events, by their positions alone, which are an index: none may be missing.
async fn count(mut db: PgConnection, from: i64, to: i64) -> Result<(), RebuildError> {
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE position > $1 AND position <= $2")
        .bind(from)
        .bind(to)
        .fetch_one(&mut db)
        .await?;
    if all == to - from {
        return Ok(());
    }
    let position = sqlx::query_scalar(
        "SELECT n FROM generate_series($1 + 1, $2) n
          WHERE NOT EXISTS (SELECT FROM events WHERE position = n) ORDER BY n LIMIT 1",
    )
    .bind(from)
    .bind(to)
    .fetch_one(&mut db)
    .await?;
    Err(RebuildError::Unreadable { position, why: "the log has no such event".to_owned() })
}

/// Whether what ends the stream was there: PostgreSQL sends it after the last row.
async fn read(
    mut db: PgConnection,
    statement: &str,
    steps: &[Upcast],
    sender: &mpsc::Sender<Read>,
) -> Result<bool, RebuildError> {
    let mut is_whole = false;
    let mut rows = db.copy_out_raw(statement).await?;
    let (mut batch, mut bytes, mut is_first) = (Vec::with_capacity(BATCH), 0, true);
    while let Some(row) = rows.try_next().await? {
        // PostgreSQL sends each row as a message; what begins the stream comes with the first.
        let row =
            if std::mem::take(&mut is_first) { row.get(HEADER..).unwrap_or_default() } else { &row[..] };
        let Some(event) = Columns(row).event().map_err(|why| sqlx::Error::Protocol(why.to_owned()))? else {
            is_whole = true;
            continue;
        };
        let position = event.position;
        let event = event
            .read_with(steps)
            .map_err(|error| RebuildError::Unreadable { position, why: error.to_string() });
        bytes += event.as_ref().map_or(0, |event| event.payload.len());
        batch.push(event?);
        if batch.len() == BATCH || bytes >= BATCH_BYTES {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            if sender.send(Ok(full)).await.is_err() {
                return Ok(true); // nobody listens any more
            }
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        let _nobody_waits = sender.send(Ok(batch)).await;
    }
    Ok(is_whole)
}

/// What is left of a row.
struct Columns<'a>(&'a [u8]);

type Broken = &'static str;

impl<'a> Columns<'a> {
    /// The event of the row; none in what ends the stream.
    fn event(mut self) -> Result<Option<StoredEvent>, Broken> {
        let columns = self.0.get(..2).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
        match columns {
            Some(-1) => return Ok(None),
            Some(11) => self.0 = &self.0[2..],
            _ => return Err("a row of the log has other columns than it should"),
        }
        Ok(Some(StoredEvent {
            position: self.number()?,
            event_id: self.id()?.into(),
            recorded_at: self.time()?,
            team_id: self.maybe_id()?.map(Into::into),
            aggregate_type: self.text()?.to_owned(),
            aggregate_id: self.text()?.to_owned(),
            sequence: self.number()?,
            event_type: self.text()?.to_owned(),
            event_version: self.text()?.to_owned(),
            payload: self.text()?.into(),
            metadata: self.text()?.to_owned().into(),
        }))
    }

    fn next(&mut self) -> Result<Option<&'a [u8]>, Broken> {
        let cut = "a row of the log is cut off";
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(cut)?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.0 = rest;
            return Ok(None);
        };
        let (value, rest) = rest.split_at_checked(length).ok_or(cut)?;
        self.0 = rest;
        Ok(Some(value))
    }

    fn value<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let value = self.next()?.ok_or("a column of the log is null")?;
        value.try_into().map_err(|_| "a column of the log has another type than it should")
    }

    fn number(&mut self) -> Result<i64, Broken> {
        self.value().map(i64::from_be_bytes)
    }

    fn id(&mut self) -> Result<Uuid, Broken> {
        self.value().map(Uuid::from_bytes)
    }

    fn maybe_id(&mut self) -> Result<Option<Uuid>, Broken> {
        let Some(value) = self.next()? else { return Ok(None) };
        Uuid::from_slice(value).map(Some).map_err(|_| "a column of the log is no uuid")
    }

    fn time(&mut self) -> Result<DateTime<chrono::Utc>, Broken> {
        let micros = self.number()?.checked_add(EPOCH);
        micros.and_then(DateTime::from_timestamp_micros).ok_or("a time of the log is out of range")
    }

    fn text(&mut self) -> Result<&'a str, Broken> {
        let value = self.next()?.ok_or("a column of the log is null")?;
        std::str::from_utf8(value).map_err(|_| "a text of the log is no UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_left_out_unless_it_says_something_else_today() {
        let which = Which { kinds: &["user", "team"], but: &["user.signed_in", "user.signed_out"] };
        let kinds = "aggregate_type IN ('user', 'team')";
        assert_eq!(Which::default().condition(&[]), "true");
        assert_eq!(Which { but: &[], ..which }.condition(&[]), kinds);
        assert_eq!(
            which.condition(&[]),
            format!("{kinds} AND event_type NOT IN ('user.signed_in', 'user.signed_out')")
        );
        let step = Upcast { event_type: "user.signed_in", from: "1", change: |_| vec![] };
        assert_eq!(which.condition(&[step]), format!("{kinds} AND event_type NOT IN ('user.signed_out')"));
    }
}
