//! One consumer in this process: takes the lease, applies batch after batch, says why when it cannot go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use domain::fact::Recorded;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lease::{self, Lease};
use super::source::{Next, Source};
use super::{BATCH, Consumer, FeedOptions, Stall};

/// The longest wait before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Derived data: after a crash of PostgreSQL rows and checkpoint go back together. Rows are fetched and changed by
/// their keys, a few of many, also where PostgreSQL has no statistics yet that would tell it so.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off; \
                     SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

pub(super) struct Seat {
    pub(super) consumer: Arc<dyn Consumer>,
    pool: PgPool,
    source: Arc<Source>,
    owner: String,
    options: FeedOptions,
    /// The checkpoint, as far as this process knows.
    known: watch::Sender<i64>,
    /// Whether the lease is held here.
    here: AtomicBool,
    stall: Mutex<Option<Stall>>,
}

/// How a batch ended.
enum Applied {
    /// It is in, up to this position.
    To(i64),
    /// The lease is another's now.
    Lost,
    /// An event of the batch, or the database itself, refuses.
    Failed(sqlx::Error),
}

impl Seat {
    pub(super) fn new(
        consumer: Arc<dyn Consumer>,
        pool: PgPool,
        source: Arc<Source>,
        owner: String,
        options: FeedOptions,
    ) -> Self {
        let (known, here, stall) = (watch::Sender::new(0), AtomicBool::new(false), Mutex::new(None));
        Self { consumer, pool, source, owner, options, known, here, stall }
    }

    pub(super) fn name(&self) -> &'static str {
        self.consumer.name()
    }

    /// Processes have no tables; nobody waits for them.
    pub(super) fn is_read_model(&self) -> bool {
        !self.consumer.table_names().is_empty()
    }

    pub(super) fn is_here(&self) -> bool {
        self.here.load(Ordering::Acquire)
    }

    pub(super) fn known(&self) -> watch::Receiver<i64> {
        self.known.subscribe()
    }

    /// Somebody has seen the checkpoint in the database. Where the lease is held, it is known better.
    pub(super) fn seen_elsewhere(&self, position: i64) {
        if !self.is_here() {
            self.known.send_if_modified(|known| std::mem::replace(known, position.max(*known)) < position);
        }
    }

    pub(super) fn stall(&self) -> Option<Stall> {
        self.stall.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads whenever this process holds the lease, until `shutdown`.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let forever = async {
            let mut failures = 0;
            loop {
                let turn = self.turn().await;
                self.here.store(false, Ordering::Release);
                match turn {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        self.stalled(None, format!("the database cannot be used: {error}"));
                        tokio::time::sleep(wait(failures)).await;
                        failures += 1;
                    }
                }
            }
        };
        shutdown.run_until_cancelled(forever).await;
        self.here.store(false, Ordering::Release);
        if let Err(error) = lease::release(&self.pool, self.name(), &self.owner).await {
            tracing::debug!(consumer = self.name(), %error, "the lease was not given back; it runs out");
        }
    }

    /// Takes the lease and follows the log for as long as it has it.
    async fn turn(&self) -> sqlx::Result<()> {
        let (name, version) = (self.name(), self.consumer.version());
        match lease::take(&self.pool, name, version, &self.owner, self.options.lease).await? {
            Some(lease) => {
                tracing::debug!(consumer = name, lease.fence, lease.position, "{name} is read here");
                self.known.send_replace(lease.position);
                self.here.store(true, Ordering::Release);
                self.follow(lease).await
            }
            None => {
                match lease::version(&self.pool, name).await? {
                    Some(stored) if stored == version => self.recovered(),
                    stored => self.stalled(None, other_version(stored, version)),
                }
                tokio::time::sleep(self.options.poll).await;
                Ok(())
            }
        }
    }

    async fn follow(&self, mut lease: Lease) -> sqlx::Result<()> {
        let mut limit = BATCH;
        let mut failures = 0;
        loop {
            let batch = self.source.after(lease.position).await?;
            let events = match batch.next(lease.position) {
                Next::Events(events) => &events[..limit.min(events.len())],
                Next::Broken(why) => {
                    self.stalled(Some(lease.position + 1), why.to_owned());
                    tokio::time::sleep(wait(failures)).await;
                    failures += 1;
                    if !self.renew(lease).await? {
                        return Ok(());
                    }
                    continue;
                }
                Next::Nothing => {
                    self.recovered();
                    tokio::select! {
                        () = self.source.more_than(&batch) => {}
                        kept = self.keep(lease) => return kept,
                    }
                    continue;
                }
            };
            match self.apply(lease, events).await {
                Applied::To(position) => {
                    lease.position = position;
                    (limit, failures) = (BATCH.min(limit * 2), 0);
                    self.recovered();
                }
                Applied::Lost => return Ok(()),
                // Smaller and smaller batches, until the one that is refused is alone.
                Applied::Failed(_) if events.len() > 1 => limit = events.len() / 2,
                Applied::Failed(error) => {
                    // What the tables refuse, or its rows before they come there.
                    let is_refused =
                        error.as_database_error().is_some() || matches!(error, sqlx::Error::Encode(_));
                    let event = is_refused.then_some(lease.position + 1);
                    self.stalled(event, error.to_string());
                    tokio::time::sleep(wait(failures)).await;
                    failures += 1;
                    limit = 1;
                }
            }
        }
    }

    async fn apply(&self, lease: Lease, events: &[Recorded]) -> Applied {
        match self.try_apply(lease, events).await {
            Ok(Some(position)) => {
                self.known.send_replace(position);
                Applied::To(position)
            }
            Ok(None) => Applied::Lost,
            Err(error) => Applied::Failed(error),
        }
    }

    /// Applies events and moves the checkpoint, both or neither. None when the lease is another's now.
    async fn try_apply(&self, lease: Lease, events: &[Recorded]) -> sqlx::Result<Option<i64>> {
        let Some(last) = events.last() else { return Ok(Some(lease.position)) };
        let wanted: Vec<_> = events.iter().filter(|event| self.consumer.wants(event)).collect();
        if wanted.is_empty() {
            let ours = lease::pass(&self.pool, self.name(), lease, last.position, self.options.lease).await?;
            return Ok(ours.then_some(last.position));
        }
        let mut tx = self.pool.begin_with(BEGIN).await?;
        let ours = lease::advance(&mut tx, self.name(), lease, last.position, self.options.lease).await?;
        if !ours {
            return Ok(None);
        }
        self.consumer.apply_all(&mut tx, &wanted).await?;
        tx.commit().await?;
        Ok(Some(last.position))
    }

    /// Keeps the lease while there is nothing to read; ends when it is lost.
    async fn keep(&self, lease: Lease) -> sqlx::Result<()> {
        loop {
            tokio::time::sleep(self.options.lease / 3).await;
            if !self.renew(lease).await? {
                return Ok(());
            }
        }
    }

    async fn renew(&self, lease: Lease) -> sqlx::Result<bool> {
        lease::renew(&self.pool, self.name(), lease.fence, self.options.lease).await
    }

    /// Notes why it does not go on, and tells the log once.
    fn stalled(&self, position: Option<i64>, reason: String) {
        let mut stall = self.stall.lock().unwrap_or_else(PoisonError::into_inner);
        let news = stall.as_ref().is_none_or(|old| old.reason != reason);
        if news {
            let name = self.name();
            tracing::error!(consumer = name, position, reason, "{name} does not go on: {reason}");
        }
        let since = stall.as_ref().map_or_else(Utc::now, |old| old.since);
        *stall = Some(Stall { since, position, reason });
    }

    fn recovered(&self) {
        if self.stall.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!(consumer = self.name(), "{} goes on", self.name());
        }
    }
}

fn other_version(stored: Option<i32>, ours: i32) -> String {
    match stored {
        Some(stored) => {
            format!("another server built it by version {stored} of its code; here it has {ours}")
        }
        None => "its checkpoint is gone; it is made anew when a server starts".to_owned(),
    }
}

/// 100 ms, 200 ms, … 5 s.
fn wait(failures: u32) -> Duration {
    LONGEST_WAIT.min(Duration::from_millis(100) * 2_u32.pow(failures.min(6)))
}
