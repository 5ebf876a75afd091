//! Rows in: what waits is written together, what is known is left out (ADR 0043, ADR 0057).

mod batch;
mod question;
mod queue;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clickhouse::{RowOwned, RowWrite};
use domain::ports::telemetry::{TelemetryError, Tenant, Written};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::fault::Fault;
use super::row::day_number;
use super::{Engine, TURN, WRITING};

/// So many batches of a table wait at most.
const WAITING: usize = 256;

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
    fn row(&self, tenant: Tenant, expires_on: u16) -> Self::Row;
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

/// What a row is: whose, its key, and its day.
type Identity = (Uuid, Key, u16);

fn identity<T: Kept>(tenant: Tenant, row: &T) -> Identity {
    (tenant.project.0, row.key(), day_number(row.at().date_naive()))
}

/// What writes the rows of one table; it ends with its last owner.
pub(super) struct Writer<T> {
    jobs: mpsc::Sender<Job<T>>,
}

/// What one sender brought, and what each row of it is.
struct Job<T> {
    tenant: Tenant,
    /// Whoever brought them may keep them, too.
    rows: Arc<Vec<T>>,
    identities: Vec<Identity>,
    answer: oneshot::Sender<Became>,
}

/// What became of what one sender brought.
type Became = Result<Written, Fault>;

impl<T: Kept> Writer<T> {
    /// Begins.
    pub(super) fn start(engine: &Engine) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let engine = engine.clone();
        let write = move |jobs| batch::write_in_time(engine.clone(), jobs);
        tokio::spawn(queue::run(waiting, write));
        Self { jobs }
    }

    /// Stores what is not known yet; answers when it is on disk.
    pub(super) async fn write(&self, tenant: Tenant, rows: Arc<Vec<T>>) -> Result<Written, TelemetryError> {
        if rows.is_empty() {
            return Ok(Written::default());
        }
        let identities = rows.iter().map(|row| identity(tenant, row)).collect();
        let (answer, answered) = oneshot::channel();
        let turn = tokio::time::timeout(TURN, self.jobs.reserve()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(TelemetryError::Busy)?;
        turn.send(Job { tenant, rows, identities, answer });
        let written = tokio::time::timeout(WRITING, answered).await;
        written.ok().and_then(Result::ok).ok_or(TelemetryError::Busy)?.map_err(TelemetryError::from)
    }
}
