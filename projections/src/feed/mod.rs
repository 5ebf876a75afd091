//! The feed: brings the events of the log to their consumers, in order, each exactly once in effect.
//!
//! Invariant: rows and checkpoint of a consumer move in one transaction, under a fence that only the present
//! holder of its lease has.

mod consume;
mod listen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fact::Recorded;
use sqlx::{PgConnection, PgPool, Row};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a waiter looks at the table when another process holds the leases.
const ELSEWHERE: Duration = Duration::from_millis(20);

/// Somebody who reads the log: a read model or a process.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// The key of its checkpoint.
    fn name(&self) -> &'static str;

    /// Raised when its tables change: it is then built anew.
    fn version(&self) -> i32;

    /// DDL of its tables, without a schema.
    fn tables(&self) -> &'static str;

    /// Names of its tables.
    fn table_names(&self) -> &'static [&'static str];

    /// Runs in the transaction that moves the checkpoint. Depends on the event and the tables alone.
    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()>;
}

/// Where a consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its name.
    pub name: String,
    /// The last position it has applied.
    pub position: i64,
    /// How many events it is behind.
    pub lag: i64,
    /// Why it does not go on, when it does not.
    pub stalled: Option<String>,
}

/// The feed of this server process.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    /// Raised at every call to look at the log.
    bell: watch::Sender<u64>,
    consumers: BTreeMap<&'static str, State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct State {
    consumer: Arc<dyn Consumer>,
    /// The last applied position, as far as this process knows.
    position: watch::Sender<i64>,
    /// Why it does not go on.
    stalled: watch::Sender<Option<String>>,
}

impl Feed {
    /// Makes the query tables that are missing, and starts a task for each consumer.
    pub async fn start(pool: PgPool, consumers: Vec<Arc<dyn Consumer>>) -> sqlx::Result<Self> {
        crate::rebuild::prepare(&pool, &consumers).await?;
        let consumers = consumers.into_iter().map(|consumer| {
            let state =
                State { position: watch::Sender::new(0), stalled: watch::Sender::new(None), consumer };
            (state.consumer.name(), state)
        });
        let shared = Arc::new(Shared {
            pool,
            bell: watch::Sender::new(0),
            consumers: consumers.collect(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let owner = uuid::Uuid::now_v7().to_string();
        for name in shared.consumers.keys() {
            shared.tasks.spawn(consume::run(shared.clone(), name, owner.clone()));
        }
        shared.tasks.spawn(listen::run(shared.clone()));
        Ok(Self { shared })
    }

    /// Says that the log has grown.
    pub fn wake(&self) {
        self.shared.bell.send_modify(|rung| *rung += 1);
    }

    /// Changes whenever this consumer has moved in this process.
    pub fn moved(&self, name: &str) -> watch::Receiver<i64> {
        match self.shared.consumers.get(name) {
            Some(state) => state.position.subscribe(),
            None => watch::Sender::new(0).subscribe(),
        }
    }

    /// Waits until every read model has applied `position`, whichever process applies it.
    pub async fn wait_for(&self, position: i64, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.reached(position)).await.is_ok()
    }

    /// Where every consumer is.
    pub async fn progress(&self) -> sqlx::Result<Vec<Progress>> {
        let head = crate::log::head(&self.shared.pool).await?;
        let rows = sqlx::query("SELECT name, position FROM consumers ORDER BY name")
            .fetch_all(&self.shared.pool)
            .await?;
        rows.into_iter()
            .map(|row| {
                let name: String = row.try_get("name")?;
                let position: i64 = row.try_get("position")?;
                let state = self.shared.consumers.get(name.as_str());
                let stalled = state.and_then(|state| state.stalled.borrow().clone());
                Ok(Progress { name, position, lag: (head - position).max(0), stalled })
            })
            .collect()
    }

    /// Ends the tasks after the batch they are at.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    async fn reached(&self, position: i64) {
        for state in self.shared.consumers.values().filter(|state| is_read_model(&*state.consumer)) {
            let mut here = state.position.subscribe();
            loop {
                if *here.borrow_and_update() >= position {
                    break;
                }
                let told = tokio::time::timeout(ELSEWHERE, here.changed()).await;
                if told.is_err() && self.stored(state.consumer.name()).await >= position {
                    break;
                }
            }
        }
    }

    /// The checkpoint as the table has it: moved by whichever process holds the lease.
    async fn stored(&self, name: &str) -> i64 {
        sqlx::query_scalar("SELECT position FROM consumers WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.shared.pool)
            .await
            .ok()
            .flatten()
            .unwrap_or(0)
    }
}

/// A consumer with tables of its own is a read model; a process has none.
pub(crate) fn is_read_model(consumer: &dyn Consumer) -> bool {
    !consumer.table_names().is_empty()
}
