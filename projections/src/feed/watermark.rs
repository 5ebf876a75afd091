//! Waiting until the query tables have caught up, whichever process holds their leases.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::seat::Seat;
use super::status::checkpoints;

/// How often the checkpoints of other processes are looked at while somebody waits.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Watermark {
    pool: PgPool,
    read_models: Vec<Arc<Seat>>,
    /// When the table was last looked at: those who wait share a look.
    looked: Mutex<Option<Instant>>,
}

impl Watermark {
    pub(super) fn new(pool: PgPool, seats: &[Arc<Seat>]) -> Self {
        let read_models = seats.iter().filter(|seat| seat.is_read_model()).cloned().collect();
        Self { pool, read_models, looked: Mutex::new(None) }
    }

    pub(super) async fn wait_for(&self, position: i64, timeout: Duration) -> bool {
        let started = Instant::now();
        let outcome = self.wait(position, timeout).await;
        let label = if outcome { "caught_up" } else { "timed_out" };
        metrics::histogram!("mastra_admin_wait_seconds", "outcome" => label).record(started.elapsed());
        outcome
    }

    async fn wait(&self, position: i64, timeout: Duration) -> bool {
        // Nobody waits for what an operator has paused; but it has not caught up.
        let behind = |seat: &Arc<Seat>| seat.is_paused() && *seat.known().borrow() < position;
        let is_paused = self.read_models.iter().any(behind);
        let reached = async {
            for seat in self.read_models.iter().filter(|seat| !seat.is_paused()) {
                seat.known().wait_for(|known| *known >= position).await.expect("the seat is ours");
            }
        };
        tokio::select! {
            biased;
            () = reached => !is_paused,
            () = self.look_elsewhere() => false,
            () = tokio::time::sleep(timeout) => false,
        }
    }

    /// Looks, for as long as it is polled, at the checkpoints that other processes move.
    async fn look_elsewhere(&self) {
        loop {
            if self.read_models.iter().any(|seat| !seat.is_here()) {
                let mut looked = self.looked.lock().await;
                if looked.is_none_or(|last| last.elapsed() >= LOOK) {
                    self.look().await;
                    *looked = Some(Instant::now());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&self) {
        match checkpoints(&self.pool).await {
            Ok(checkpoints) => {
                for seat in &self.read_models {
                    if let Some(found) = checkpoints.iter().find(|found| found.name == seat.name()) {
                        seat.seen_elsewhere(found.position);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the checkpoints could not be read"),
        }
    }
}
