//! The ledger at work: closes checkpoints by count and by time, and tells them to the anchors.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ports::anchor::{Anchor, AnchoredCheckpoint};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keyring::KeyRing;
use super::{BATCH, LedgerError, close, newest, status};

/// How long an anchor may take.
const ANCHOR_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest wait before a refused anchor, or the database, is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often the ledger writes.
#[derive(Clone, Copy, Debug)]
pub struct LedgerOptions {
    /// How long an event waits for its checkpoint at most, unless many come at once.
    pub batch: Duration,
    /// A checkpoint at least so often, though nothing happened: that nothing happened is evidence too.
    pub idle: Duration,
    /// An anchor is told of the newest checkpoint so often at most.
    pub anchor: Duration,
    /// How often to look.
    pub poll: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            batch: Duration::from_secs(5),
            idle: Duration::from_secs(3600),
            anchor: Duration::from_secs(60),
            poll: Duration::from_secs(1),
        }
    }
}

/// The ledger of this process. Of several processes any may write the next checkpoint.
pub struct Ledger {
    tasks: TaskTracker,
    stop: CancellationToken,
    tellers: Vec<Arc<Teller>>,
}

impl Ledger {
    /// Starts writing. `now` is the clock that checkpoints show.
    pub fn start(
        pool: PgPool,
        keys: KeyRing,
        anchors: Vec<Arc<dyn Anchor>>,
        options: LedgerOptions,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let writer = Writer { pool: pool.clone(), keys, options, now, waiting: None };
        tasks.spawn(writer.run(stop.clone()));
        let tellers = anchors.into_iter().map(|anchor| Teller { pool: pool.clone(), anchor, options, now });
        let tellers: Vec<_> = tellers.map(Arc::new).collect();
        for teller in &tellers {
            tasks.spawn(teller.clone().run(stop.clone()));
        }
        tasks.close();
        Self { tasks, stop, tellers }
    }

    /// Covers what was appended, tells the anchors, and ends.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
        for teller in &self.tellers {
            if let Err(error) = teller.tell(Duration::ZERO).await {
                tracing::warn!("{} was not told of the last checkpoint: {error}", teller.anchor.name());
            }
        }
    }
}

struct Writer {
    pool: PgPool,
    keys: KeyRing,
    options: LedgerOptions,
    now: fn() -> DateTime<Utc>,
    /// Since when events wait for a checkpoint.
    waiting: Option<Instant>,
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) {
        let mut trouble = Trouble::new("the ledger", self.options.poll);
        while stop.run_until_cancelled(tokio::time::sleep(trouble.wait())).await.is_some() {
            let looked = self.look().await;
            trouble.is_over(looked);
        }
        self.waiting = None;
        while let Ok(Some(_)) = close(&self.pool, &self.keys, false, (self.now)()).await {}
    }

    /// Closes what is to be closed by now.
    async fn look(&mut self) -> Result<(), LedgerError> {
        let status = status(&mut *self.pool.acquire().await?).await?;
        let mut pending = status.head - status.size;
        let (at, now) = (status.at, (self.now)());
        let waited = self.waiting.get_or_insert_with(Instant::now).elapsed();
        if pending == 0 {
            self.waiting = None;
        }
        let is_idle = at.is_none_or(|at| (now - at).to_std().is_ok_and(|age| age >= self.options.idle));
        let mut is_due = is_idle || (pending > 0 && waited >= self.options.batch);
        while is_due || pending >= BATCH {
            match close(&self.pool, &self.keys, is_idle && pending == 0, now).await {
                Ok(Some(signed)) => pending = status.head - signed.checkpoint.size,
                // Another process does it.
                Ok(None) | Err(LedgerError::Busy) => return Ok(()),
                Err(error) => return Err(error),
            }
            is_due &= pending > 0;
            self.waiting = None;
        }
        Ok(())
    }
}

/// Tells one anchor of the newest checkpoint, again and again.
struct Teller {
    pool: PgPool,
    anchor: Arc<dyn Anchor>,
    options: LedgerOptions,
    now: fn() -> DateTime<Utc>,
}

impl Teller {
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut trouble = Trouble::new(self.anchor.name(), self.options.poll);
        while stop.run_until_cancelled(tokio::time::sleep(trouble.wait())).await.is_some() {
            let told = self.tell(self.options.anchor).await;
            trouble.is_over(told);
        }
    }

    /// Unless it was told less than `pause` ago, or knows the newest.
    async fn tell(&self, pause: Duration) -> Result<(), String> {
        let Some(newest) = newest(&self.pool).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let (number, size, now) = (newest.checkpoint.number, newest.checkpoint.size, (self.now)());
        if !self.is_due(number, now - pause).await.map_err(|error| error.to_string())? {
            return Ok(());
        }
        let checkpoint = AnchoredCheckpoint { number, size, note: newest.note };
        match tokio::time::timeout(ANCHOR_TIMEOUT, self.anchor.keep(&checkpoint)).await {
            Ok(kept) => kept.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("the anchor did not answer in {} s", ANCHOR_TIMEOUT.as_secs())),
        }
        sqlx::query("UPDATE ledger_anchors SET number = $2, size = $3, anchored_at = $4 WHERE name = $1")
            .bind(self.anchor.name())
            .bind(number)
            .bind(size)
            .bind(now)
            .execute(&self.pool)
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn is_due(&self, number: i64, told_before: DateTime<Utc>) -> sqlx::Result<bool> {
        let due =
            "SELECT number = 0 OR (number < $2 AND anchored_at <= $3) FROM ledger_anchors WHERE name = $1";
        let due = sqlx::query_scalar(due).bind(self.anchor.name()).bind(number).bind(told_before);
        if let Some(due) = due.fetch_optional(&self.pool).await? {
            return Ok(due);
        }
        let set_up = "INSERT INTO ledger_anchors (name, number, size, anchored_at) VALUES ($1, 0, 0, $2)
                      ON CONFLICT DO NOTHING";
        sqlx::query(set_up).bind(self.anchor.name()).bind((self.now)()).execute(&self.pool).await?;
        Ok(true)
    }
}

/// Says once what does not work, and tries again less and less often.
struct Trouble {
    who: String,
    poll: Duration,
    said: Option<String>,
    failures: u32,
}

impl Trouble {
    fn new(who: &str, poll: Duration) -> Self {
        Self { who: who.to_owned(), poll, said: None, failures: 0 }
    }

    fn wait(&self) -> Duration {
        LONGEST_WAIT.min(self.poll * 2_u32.pow(self.failures.min(8)))
    }

    fn is_over(&mut self, outcome: Result<(), impl ToString>) {
        match outcome {
            Ok(()) if self.said.take().is_some() => {
                self.failures = 0;
                tracing::info!("{} goes on", self.who);
            }
            Ok(()) => {}
            Err(error) => {
                let (who, error) = (&self.who, error.to_string());
                if self.said.as_ref() != Some(&error) {
                    tracing::error!("{who} does not go on: {error}");
                }
                (self.said, self.failures) = (Some(error), self.failures + 1);
            }
        }
    }
}
