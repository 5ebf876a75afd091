//! From the disk into the store, once it answers again: in the order in which it came, by one task.

use std::collections::HashMap;
use std::io;
use std::mem::discriminant;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ports::telemetry::{TelemetryError, Tenant, Written};
use futures_util::stream::{self, StreamExt};

use super::Inner;
use super::record::{Record, Rows};
use super::segment::{Reader, Segment};

/// So much is stored together.
pub(super) const ROWS: usize = 5_000;
const BYTES: usize = 8 << 20;
/// So many projects' rows at a time: others bring theirs meanwhile.
const AT_A_TIME: usize = 3;
/// How long a store that is away is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Rows of a project, and when the first of them was taken in.
pub(super) type Part = (DateTime<Utc>, Tenant, Rows);

/// Goes on until it is cut off.
pub(super) async fn drain(inner: Arc<Inner>) {
    loop {
        match inner.queue.front().await {
            Some(segment) => empty(&inner, segment).await,
            None if inner.gate.is_shut() => {
                // What failed is on its way here: that it is stored says more than that somebody answers.
                tokio::time::sleep(PAUSE).await;
                if inner.queue.front().await.is_none() && inner.check().await.is_ok() {
                    inner.gate.open();
                }
            }
            None => inner.queue.changed().await,
        }
    }
}

/// Stores a file, and removes it.
async fn empty(inner: &Inner, segment: Segment) {
    let Segment { path, bytes, .. } = segment;
    let mut from = 0;
    loop {
        let file = path.clone();
        let reading = tokio::task::spawn_blocking(move || read(&file, from, bytes)).await;
        match reading.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Taken { parts, position, more }) => {
                store(inner, parts).await;
                match more {
                    More::Yes => from = position,
                    More::No => return inner.queue.done(true),
                    More::Damaged => return inner.queue.done(false),
                }
            }
            Err(error) => {
                tracing::error!(%error, "telemetry: {} cannot be read: {error}", path.display());
                if error.kind() == io::ErrorKind::NotFound {
                    return inner.queue.done(false);
                }
                // Nothing is wrong with the file: it is read again.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Some records of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) parts: Vec<Part>,
    /// Where the next record begins.
    pub(super) position: u64,
    pub(super) more: More,
}

/// Whether there is more in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum More {
    Yes,
    No,
    /// There is, but nobody can read it.
    Damaged,
}

/// The next records, those of one project and signal together, but no more than so many rows.
pub(super) fn read(path: &Path, from: u64, end: u64) -> io::Result<Taken> {
    let mut reader = Reader::open(path, from, end)?;
    let (mut parts, mut places): (Vec<Part>, HashMap<_, usize>) = Default::default();
    let (mut rows, mut bytes, mut more) = (0, 0, More::Yes);
    while rows < ROWS && bytes < BYTES {
        let Some(packed) = reader.next()? else {
            more = if reader.is_at_end() { More::No } else { More::Damaged };
            break;
        };
        let Ok((record, size)) = Record::unpack(&packed) else {
            more = More::Damaged;
            break;
        };
        (rows, bytes) = (rows + record.rows.len(), bytes + size);
        let tenant = record.tenant();
        let place = (tenant.team, tenant.project, discriminant(&record.rows));
        let place = *places.entry(place).or_insert(parts.len());
        match parts.get_mut(place) {
            Some((_, _, part)) => _ = part.merge(record.rows),
            None => parts.push((packed.at, tenant, record.rows)),
        }
    }
    let parts = parts.into_iter().flat_map(in_pieces).collect();
    Ok(Taken { parts, position: reader.position(), more })
}

/// A part in parts that are not too long.
fn in_pieces((at, tenant, mut rows): Part) -> Vec<Part> {
    let mut pieces = vec![];
    while rows.len() > ROWS {
        let rest = rows.split_off(ROWS);
        pieces.push((at, tenant, std::mem::replace(&mut rows, rest)));
    }
    pieces.push((at, tenant, rows));
    pieces
}

/// Stores all of it, however long that takes.
async fn store(inner: &Inner, mut parts: Vec<Part>) {
    while !parts.is_empty() {
        if let Some((oldest, ..)) = parts.first() {
            inner.queue.begins(*oldest);
        }
        let tries = parts.into_iter().map(async |(at, tenant, rows)| {
            let written = inner.write(tenant, rows.clone()).await;
            ((at, tenant, rows), written)
        });
        let tried: Vec<_> = stream::iter(tries).buffered(AT_A_TIME).collect().await;
        parts = vec![];
        let (mut failed, mut away) = (vec![], None);
        for (part, written) in tried {
            match written {
                Ok(written) => inner.queue.stored(written),
                Err(TelemetryError::Refused(error)) => match without_refused(inner, part, &*error).await {
                    Ok(left) => parts.extend(left),
                    Err((part, error)) => {
                        away = Some(error);
                        failed.push(part);
                    }
                },
                Err(error) => {
                    away = Some(error);
                    failed.push(part);
                }
            }
        }
        match away {
            None => inner.gate.open(),
            Some(error) => {
                // Who has too much to do is there.
                if !matches!(error, TelemetryError::Busy) {
                    inner.gate.shut(&error);
                }
                // What fails in a store that is there may be too much at once.
                if wait(inner).await {
                    failed = failed.into_iter().flat_map(halves).collect();
                }
            }
        }
        parts.extend(failed);
    }
}

/// A part, as two if it can be.
fn halves((at, tenant, mut rows): Part) -> Vec<Part> {
    if rows.len() < 2 {
        return vec![(at, tenant, rows)];
    }
    let half = rows.split();
    vec![(at, tenant, rows), (at, tenant, half)]
}

/// What the store does not take is found by halves, and put aside. What could not be put aside is given back.
async fn without_refused(
    inner: &Inner,
    part: Part,
    error: &(dyn std::error::Error + Send + Sync),
) -> Result<Vec<Part>, (Part, TelemetryError)> {
    let (at, tenant, rows) = part;
    if rows.len() > 1 {
        return Ok(halves((at, tenant, rows)));
    }
    tracing::error!(%error, "telemetry: a row is put aside, which the store does not take: {error}");
    let put = match Record::new(tenant, rows.clone()).pack(at) {
        Ok(packed) => inner.queue.set_aside(packed).await,
        Err(error) => Err(error),
    };
    put.map(|()| vec![]).map_err(|error| {
        tracing::warn!(%error, "telemetry: it could not be put aside: {error}");
        ((at, tenant, rows), TelemetryError::Store(Box::new(error)))
    })
}

/// Until the store answers; whether it did at once.
async fn wait(inner: &Inner) -> bool {
    let mut is_first = true;
    loop {
        tokio::time::sleep(PAUSE).await;
        if inner.check().await.is_ok() {
            return is_first;
        }
        is_first = false;
    }
}

impl Inner {
    async fn check(&self) -> Result<(), TelemetryError> {
        self.spans.check().await
    }

    async fn write(&self, tenant: Tenant, rows: Rows) -> Result<Written, TelemetryError> {
        match rows {
            Rows::Spans(rows) => self.spans.write(tenant, rows).await,
            Rows::Logs(rows) => self.signals.write_logs(tenant, rows).await,
            Rows::Points(rows) => self.signals.write_points(tenant, rows).await,
            Rows::Scores(rows) => self.signals.write_scores(tenant, rows).await,
        }
    }
}
