//! Wakes the consumers: rung by the appender of this process, by other processes through the database, and, should
//! both fail, by a look at the log once a second.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::source::Source;
use crate::log;

/// What the appenders of all processes notify, with the head of the log.
const CHANNEL: &str = "log_appended";

/// Counts how often it was rung, so that nobody misses a ring while busy.
#[derive(Clone)]
pub(super) struct Bell(watch::Sender<u64>);

impl Bell {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn ring(&self) {
        self.0.send_modify(|rings| *rings += 1);
    }

    pub(super) fn rings(&self) -> u64 {
        *self.0.borrow()
    }

    /// How often it was rung, as it changes.
    pub(super) fn heard(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    /// Waits until it was rung more often than `heard`.
    pub(super) async fn rung_since(&self, heard: u64) {
        let mut rings = self.0.subscribe();
        rings.wait_for(|rings| *rings != heard).await.expect("we hold the sender");
    }
}

/// Listens to the appenders of other processes.
pub(super) async fn listen(pool: PgPool, source: Arc<Source>, pause: Duration, shutdown: CancellationToken) {
    let mut complained = false;
    let forever = async {
        loop {
            if let Err(error) = hear(&pool, &source).await
                && !std::mem::replace(&mut complained, true)
            {
                tracing::warn!(%error, "other processes are not heard; the log is looked at every second");
            }
            tokio::time::sleep(pause).await;
        }
    };
    shutdown.run_until_cancelled(forever).await;
}

async fn hear(pool: &PgPool, source: &Source) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        match listener.try_recv().await? {
            Some(told) => source.head_is(told.payload().parse().unwrap_or(i64::MAX)),
            None => source.head_is(i64::MAX), // the connection was lost, and notifications with it
        }
    }
}

/// Looks at the log now and then, whatever was heard.
pub(super) async fn look(pool: PgPool, source: Arc<Source>, pause: Duration, shutdown: CancellationToken) {
    let forever = async {
        loop {
            tokio::time::sleep(pause).await;
            match log::head(&pool).await {
                Ok(head) => source.head_is(head),
                // The consumers meet the same error and tell of it.
                Err(error) => tracing::debug!(%error, "the head of the log could not be read"),
            }
        }
    };
    shutdown.run_until_cancelled(forever).await;
}
