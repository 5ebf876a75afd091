//! Who works on which build or server of this platform: one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::runner::RunnerError;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long an earlier one may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What ends the holder of each name.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<String, CancellationToken>>);

/// The right to a name.
pub(super) struct Claim {
    claims: Arc<Claims>,
    name: String,
    wanted: CancellationToken,
}

impl Claims {
    /// Takes the name; who has it is told to end, and waited for.
    pub(super) async fn claim(self: &Arc<Self>, name: &str) -> Result<Claim, RunnerError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(claim) = self.claim_if_free(name) {
                return Ok(claim);
            }
            if let Some(holder) = self.held().get(name) {
                holder.cancel();
            }
            if Instant::now() > deadline {
                return Err(RunnerError(format!("the earlier {name} does not end")));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes the name unless somebody has it.
    pub(super) fn claim_if_free(self: &Arc<Self>, name: &str) -> Option<Claim> {
        let mut held = self.held();
        if held.contains_key(name) {
            return None;
        }
        let wanted = CancellationToken::new();
        held.insert(name.to_owned(), wanted.clone());
        Some(Claim { claims: self.clone(), name: name.to_owned(), wanted })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Resolves when somebody else wants the name.
    pub(super) async fn wanted(&self) {
        self.wanted.cancelled().await;
    }

    /// Whether somebody else wants it.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_cancelled()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.held().remove(&self.name);
    }
}
