//! The feed: every consumer reads the log in order, from its checkpoint, as soon as something is appended.
//!
//! Invariants: rows and checkpoint of a consumer move in one transaction. Whoever has lost the lease moves neither:
//! the checkpoint names the fence of the lease. No event is ever lost: one that cannot be taken in is parked with all
//! that follow it in its partition ([`crate::parked`]), in sight of the operator; everything else goes on.

mod bell;
mod control;
mod lease;
mod seat;
mod setup;
mod source;
mod status;
mod watermark;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fact::Recorded;
use domain::upcast::{UPCASTS, Upcast};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::bell::Bell;
use self::seat::Seat;
use self::source::Source;
use self::watermark::Watermark;
use crate::parked::Grain;
use crate::rebuild::{self, RebuildError};
use crate::rows::Encoded;

pub use control::{ControlError, pause, reset_to_head, resume};
pub(crate) use setup::{create, prepare};
pub(crate) use source::{Batch, Broken};
pub use status::{Checkpoint, Progress, Stall, checkpoints, is_settled};

/// Events in one transaction of a consumer.
pub(crate) const BATCH: usize = 500;

/// Reads the log in order: a read model with tables of its own, or a process, which has none.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// The key of its checkpoint: stored, never changed.
    fn name(&self) -> &'static str;

    /// Raised with every change of its tables or of what it writes to them: they are then built anew.
    fn version(&self) -> i32;

    /// The statements that make its tables. Their names are unqualified: run where they are to belong.
    fn tables(&self) -> &'static str;

    /// The names of its tables. Each has a primary key, by which a rebuild is compared with it.
    fn table_names(&self) -> &'static [&'static str];

    /// The kinds of aggregates whose events it looks at (`project`); all of them when empty. When its tables are built
    /// anew it is not shown any others.
    fn kinds(&self) -> &'static [&'static str] {
        &[]
    }

    /// Types of events of those kinds with which it does nothing, where there are many of them. When its tables are
    /// built anew it is not shown them either.
    fn passes_over(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether `apply` would do anything with this event: a batch without such events costs next to nothing. Pure.
    fn wants(&self, recorded: &Recorded) -> bool {
        let kinds = self.kinds();
        kinds.is_empty() || kinds.contains(&recorded.aggregate_type.as_str())
    }

    /// What waits behind an event that it cannot take in. Whoever makes a row of several streams needs the order
    /// in which a team's events came, also after a wait.
    fn grain(&self) -> Grain {
        Grain::Team
    }

    /// Takes one event in, all of its facts. Runs in the transaction that moves the checkpoint. Depends on the event and on its own
    /// tables alone: no clock, no random, so that a rebuild gives the same bytes.
    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()>;

    /// Takes events in, in their order: as `apply` one by one, in fewer statements. When it fails, `apply` tells
    /// which event it is.
    async fn apply_all(&self, db: &mut PgConnection, batch: &[&Recorded]) -> sqlx::Result<()> {
        for recorded in batch {
            self.apply(db, recorded).await?;
        }
        Ok(())
    }

    /// As `apply_all`, for all events of the log, and for tables without indexes that nobody reads: empty ones, or such
    /// as a fold has stored before. `memory` is how many bytes its rows may take meanwhile. None when it keeps no rows
    /// in memory.
    fn fold(&self, _memory: usize, _are_empty: bool) -> Option<Box<dyn Fold>> {
        None
    }
}

/// Tables on their way from the beginning of the log.
#[async_trait]
pub trait Fold: Send {
    /// Takes events in. Fails with the position of the event that is refused. As long as all rows are in memory `db`
    /// is not asked anything.
    async fn apply(&mut self, db: &mut PgConnection, batch: &[Recorded]) -> Result<(), (i64, sqlx::Error)>;

    /// Whether all rows are in memory that `apply` may ask for.
    fn is_in_memory(&self) -> bool;

    /// Whether it may take too much memory.
    fn is_heavy(&self) -> bool;

    /// Frees memory, if it does take too much. What is stored is not whole.
    async fn make_room(&mut self, db: &mut PgConnection) -> sqlx::Result<()>;

    /// Gives away finished rows, when they are many: whoever takes them copies them.
    fn take_full(&mut self) -> Vec<Encoded>;

    /// Stores what is not stored yet: the tables are now those of the last event. If it was not the last one of all,
    /// another fold can go on from there.
    async fn store(&mut self, db: &mut PgConnection, is_last: bool) -> sqlx::Result<()>;
}

/// How patient a feed is.
#[derive(Clone, Copy, Debug)]
pub struct FeedOptions {
    /// How long a consumer that is not heard of keeps its lease.
    pub lease: Duration,
    /// How often to look by oneself: at the log, and at leases that others hold.
    pub poll: Duration,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), poll: Duration::from_secs(1) }
    }
}

/// The running feed of this server process. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    bell: Bell,
    watermark: Watermark,
    seats: Vec<Arc<Seat>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// For who asks about a consumer that is not here: never moves.
    nowhere: watch::Sender<i64>,
}

impl Feed {
    /// Makes what tables are missing, builds anew what another version of the software has built, and starts
    /// reading.
    pub async fn start(pool: PgPool, consumers: Vec<Arc<dyn Consumer>>) -> Result<Self, RebuildError> {
        Self::start_with(pool, consumers, FeedOptions::default()).await
    }

    /// As `start`, with another patience.
    pub async fn start_with(
        pool: PgPool,
        consumers: Vec<Arc<dyn Consumer>>,
        options: FeedOptions,
    ) -> Result<Self, RebuildError> {
        Self::start_upcasting(pool, consumers, options, UPCASTS).await
    }

    /// As `start_with`, with other steps than the product's for events of earlier versions.
    pub async fn start_upcasting(
        pool: PgPool,
        consumers: Vec<Arc<dyn Consumer>>,
        options: FeedOptions,
        steps: &'static [Upcast],
    ) -> Result<Self, RebuildError> {
        rebuild::prepare(&pool, &consumers).await?;
        let bell = Bell::new();
        let source = Arc::new(Source::new(pool.clone(), steps, bell.clone()));
        let owner = Uuid::now_v7().to_string();
        let seats: Vec<_> = consumers
            .into_iter()
            .map(|consumer| {
                Arc::new(Seat::new(consumer, pool.clone(), source.clone(), owner.clone(), options))
            })
            .collect();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        for seat in &seats {
            tasks.spawn(seat.clone().run(stop.clone()));
        }
        tasks.spawn(bell::listen(pool.clone(), source.clone(), options.poll, stop.clone()));
        tasks.spawn(bell::look(pool.clone(), source, options.poll, stop.clone()));
        tasks.close();
        let watermark = Watermark::new(pool.clone(), &seats);
        let nowhere = watch::Sender::new(0);
        Ok(Self { shared: Arc::new(Shared { pool, bell, watermark, seats, tasks, stop, nowhere }) })
    }

    /// Something was appended. Called by the appender, and by whoever changed what consumers read.
    pub fn wake(&self) {
        self.shared.bell.ring();
    }

    /// Waits until every read model has taken in the event at `position`, wherever it runs. False when they have
    /// not after `timeout`.
    pub async fn wait_for(&self, position: i64, timeout: Duration) -> bool {
        self.shared.watermark.wait_for(position, timeout).await
    }

    /// Changes whenever something was appended, by whichever server.
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.shared.bell.heard()
    }

    /// The checkpoint of a consumer as it moves while its lease is held here. One that this feed does not know
    /// never moves.
    pub fn moved(&self, name: &str) -> watch::Receiver<i64> {
        let seat = self.shared.seats.iter().find(|seat| seat.name() == name);
        seat.map_or_else(|| self.shared.nowhere.subscribe(), |seat| seat.known())
    }

    /// How every consumer of this feed stands.
    pub async fn progress(&self) -> sqlx::Result<Vec<Progress>> {
        status::of_seats(&self.shared.pool, &self.shared.seats).await
    }

    /// Stops reading: a batch that is under way is rolled back, the leases are given back.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
    }
}
