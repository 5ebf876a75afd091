//! One consumer in this process: takes the lease, applies batch after batch, says why when it cannot go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use domain::envelope::Actor;
use domain::fact::{Recorded, UnreadableEvent};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lease::{self, Lease};
use super::source::{Broken, Next, Source};
use super::{Consumer, FeedOptions, Stall};
use crate::parked::{self, LIVE, Lot, is_of_the_event};

/// The longest wait before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Derived data: after a crash of PostgreSQL rows and checkpoint go back together.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off";

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
    /// Whether an operator has paused the consumer, as far as this process knows.
    paused: AtomicBool,
    stall: Mutex<Option<Stall>>,
}

/// How a batch ended.
enum Applied {
    /// It is in, up to this position.
    To(i64),
    /// The lease is another's now.
    Lost,
    /// One of its events is refused by its own fault.
    Refused,
    /// It cannot go on here: at which event, if it is one, and why.
    Failed { position: Option<i64>, why: String },
}

impl Seat {
    pub(super) fn new(
        consumer: Arc<dyn Consumer>,
        pool: PgPool,
        source: Arc<Source>,
        owner: String,
        options: FeedOptions,
    ) -> Self {
        let (known, stall) = (watch::Sender::new(0), Mutex::new(None));
        let (here, paused) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { consumer, pool, source, owner, options, known, here, paused, stall }
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

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
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
                self.paused.store(false, Ordering::Release);
                self.here.store(true, Ordering::Release);
                if self.try_again_as_asked(lease).await? {
                    return Ok(()); // which took the lease away, so that everybody looks at what waits
                }
                self.follow(lease).await?;
                metrics::counter!("mastra_admin_leases_lost_total", "consumer" => name).increment(1);
                Ok(())
            }
            None => {
                let standing = lease::standing(&self.pool, name).await?;
                self.paused.store(standing.as_ref().is_some_and(|found| found.is_paused), Ordering::Release);
                match standing {
                    Some(found) if found.version == version => self.recovered(),
                    found => self.stalled(None, other_version(found.map(|found| found.version), version)),
                }
                tokio::time::sleep(self.options.poll).await;
                Ok(())
            }
        }
    }

    /// Tries parked events again for which an operator has asked. Answers whether there were any.
    async fn try_again_as_asked(&self, lease: Lease) -> sqlx::Result<bool> {
        let mut tx = self.pool.begin().await?;
        if !lease::hold(&mut tx, self.name(), lease).await? {
            return Ok(true);
        }
        let asked = parked::asked(&mut *tx, self.name()).await?;
        for (partition, by) in &asked {
            let by = by.parse().unwrap_or(Actor::System);
            parked::try_again(&mut tx, self.consumer.as_ref(), self.source.steps, partition, &by).await?;
        }
        tx.commit().await?;
        Ok(!asked.is_empty())
    }

    /// Takes in batch after batch; ends when the lease is lost.
    async fn follow(&self, mut lease: Lease) -> sqlx::Result<()> {
        let consumer = self.consumer.as_ref();
        let mut lot = Lot::load(&mut *self.pool.acquire().await?, consumer, LIVE).await?;
        let (mut carefully, mut failures) = (false, 0);
        loop {
            let batch = self.source.after(lease.position).await?;
            let applied = match batch.next(lease.position) {
                Next::Nothing => {
                    self.recovered();
                    tokio::select! {
                        () = self.source.more_than(&batch) => {}
                        kept = self.keep(lease) => return kept,
                    }
                    continue;
                }
                Next::Events(events) if carefully => self.apply_carefully(lease, &mut lot, events).await,
                Next::Events(events) => self.apply(lease, &lot, events).await,
                Next::Broken(Broken::Unreadable(event)) => self.park(lease, &mut lot, event).await,
                Next::Broken(Broken::Missing(why)) => {
                    Applied::Failed { position: Some(lease.position + 1), why: why.clone() }
                }
            };
            carefully = matches!(applied, Applied::Refused);
            match applied {
                Applied::To(position) => {
                    self.known.send_replace(position);
                    lease.position = position;
                    failures = 0;
                    self.recovered();
                }
                Applied::Lost => return Ok(()),
                Applied::Refused => {}
                Applied::Failed { position, why } => {
                    self.stalled(position, why);
                    tokio::time::sleep(wait(failures)).await;
                    failures += 1;
                    if !self.renew(lease).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes events in and moves the checkpoint, both or neither.
    async fn apply(&self, lease: Lease, lot: &Lot, events: &[Recorded]) -> Applied {
        let Some(last) = events.last() else { return Applied::To(lease.position) };
        if !events.iter().any(|event| self.consumer.wants(event)) {
            let passed = lease::pass(&self.pool, self.name(), lease, last.position, self.options.lease).await;
            return ended(last.position, passed);
        }
        let done = async {
            let Some(mut tx) = self.begin(lease, last.position).await? else { return Ok(false) };
            lot.apply(&mut tx, self.consumer.as_ref(), events).await?;
            tx.commit().await?;
            Ok(true)
        };
        match done.await {
            Err(error) if is_of_the_event(&error) => Applied::Refused,
            done => ended(last.position, done),
        }
    }

    /// As `apply`; events that are refused by their own fault are parked.
    async fn apply_carefully(&self, lease: Lease, lot: &mut Lot, events: &[Recorded]) -> Applied {
        let Some(last) = events.last() else { return Applied::To(lease.position) };
        let mut changed = lot.clone();
        let done = async {
            let Some(mut tx) = self.begin(lease, last.position).await? else { return Ok(false) };
            let applied = changed.apply_carefully(&mut tx, self.consumer.as_ref(), events).await;
            applied.map_err(|(_, error)| error)?;
            tx.commit().await?;
            Ok(true)
        };
        let done = ended(last.position, done.await);
        if matches!(done, Applied::To(_)) {
            *lot = changed;
        }
        done
    }

    /// Parks an event that this version of the software cannot read.
    async fn park(&self, lease: Lease, lot: &mut Lot, event: &UnreadableEvent) -> Applied {
        let mut changed = lot.clone();
        let done = async {
            let Some(mut tx) = self.begin(lease, event.position).await? else { return Ok(false) };
            changed.park_unreadable(&mut tx, self.consumer.as_ref(), event).await?;
            tx.commit().await?;
            Ok(true)
        };
        let done = ended(event.position, done.await);
        if matches!(done, Applied::To(_)) {
            *lot = changed;
        }
        done
    }

    /// A transaction that moves the checkpoint; none when the lease is another's now.
    async fn begin(&self, lease: Lease, to: i64) -> sqlx::Result<Option<Transaction<'static, Postgres>>> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        let ours = lease::advance(&mut tx, self.name(), lease, to, self.options.lease).await?;
        Ok(ours.then_some(tx))
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

/// How a transaction ended that was to move the checkpoint to `position`, and moved it if the lease was ours.
fn ended(position: i64, done: sqlx::Result<bool>) -> Applied {
    match done {
        Ok(true) => Applied::To(position),
        Ok(false) => Applied::Lost,
        Err(error) => Applied::Failed { position: None, why: error.to_string() },
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
