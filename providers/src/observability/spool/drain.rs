//! From the disk into the store, once it answers again: in the order in which it came, by one task.

use std::collections::HashMap;
use std::io;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ports::telemetry::{TelemetryError, Tenant, Written};
use futures_util::stream::{self, StreamExt};

use super::Inner;
use super::record::{Record, Rows};
use super::segment::{Reader, Segment};

/// So much is stored together.
const ROWS: usize = 5_000;
const BYTES: usize = 8 << 20;
/// So many projects' rows at a time: others bring theirs meanwhile.
const AT_A_TIME: usize = 3;
/// How long a store that is away is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Rows of a project, and when the first of them was taken in.
type Part = (DateTime<Utc>, Tenant, Rows);

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
    let mut reader = Reader::open(&path, bytes);
    loop {
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = reader?;
            let parts = read(&mut reader)?;
            Ok((reader, parts))
        });
        let read = reading.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (back, parts) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "telemetry: {} cannot be read: {error}", path.display());
                return inner.queue.done(false);
            }
        };
        if parts.is_empty() {
            return inner.queue.done(back.is_at_end());
        }
        store(inner, parts).await;
        reader = Ok(back);
    }
}

/// The next records, those of one project and signal together.
fn read(reader: &mut Reader) -> io::Result<Vec<Part>> {
    let (mut parts, mut places): (Vec<Part>, HashMap<_, usize>) = Default::default();
    let (mut rows, mut bytes) = (0, 0);
    while rows < ROWS && bytes < BYTES {
        let Some(packed) = reader.next()? else { break };
        let (record, size) = Record::unpack(&packed)?;
        (rows, bytes) = (rows + record.rows.len(), bytes + size);
        let tenant = record.tenant();
        let place = (tenant.team, tenant.project, discriminant(&record.rows));
        let place = *places.entry(place).or_insert(parts.len());
        match parts.get_mut(place) {
            Some((_, _, part)) => _ = part.merge(record.rows),
            None => parts.push((packed.at, tenant, record.rows)),
        }
    }
    Ok(parts)
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
        let mut away = None;
        for (part, written) in tried {
            match written {
                Ok(written) => inner.queue.stored(written),
                Err(TelemetryError::Refused(error)) => parts.extend(without_refused(inner, part, &*error)),
                Err(error) => {
                    away = Some(error);
                    parts.push(part);
                }
            }
        }
        match away {
            None => inner.gate.open(),
            Some(error) => {
                inner.gate.shut(&error);
                wait(inner).await;
            }
        }
    }
}

/// What the store does not take is found by halves, and put aside.
fn without_refused(
    inner: &Inner,
    (at, tenant, mut rows): Part,
    error: &(dyn std::error::Error + Send + Sync),
) -> Vec<Part> {
    if rows.len() > 1 {
        let half = rows.split();
        return vec![(at, tenant, rows), (at, tenant, half)];
    }
    tracing::error!(%error, "telemetry: a row is put aside, which the store does not take: {error}");
    let put = Record::new(tenant, rows.clone()).pack(at).and_then(|packed| inner.queue.set_aside(&packed));
    match put {
        Ok(()) => vec![],
        Err(error) => {
            tracing::warn!(%error, "telemetry: it could not be put aside: {error}");
            vec![(at, tenant, rows)]
        }
    }
}

/// Until the store answers.
async fn wait(inner: &Inner) {
    loop {
        tokio::time::sleep(PAUSE).await;
        if inner.check().await.is_ok() {
            return;
        }
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
