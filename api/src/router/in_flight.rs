//! How many requests are under way to each deployment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use domain::ids::DeploymentId;
use tokio::sync::watch;

/// Counters by deployment; one without requests has none.
#[derive(Clone, Default)]
pub(super) struct InFlight {
    counters: Arc<Mutex<HashMap<DeploymentId, watch::Sender<usize>>>>,
}

/// One request under way; it ends when this is dropped.
pub(super) struct Guard {
    in_flight: InFlight,
    deployment: DeploymentId,
}

impl InFlight {
    /// A request begins.
    pub(super) fn enter(&self, deployment: DeploymentId) -> Guard {
        let mut counters = self.counters.lock().expect("no holder panics");
        counters.entry(deployment).or_insert_with(|| watch::Sender::new(0)).send_modify(|count| *count += 1);
        Guard { in_flight: self.clone(), deployment }
    }

    /// Returns when no request is under way.
    pub(super) async fn empty(&self, deployment: DeploymentId) {
        let counter = {
            let counters = self.counters.lock().expect("no holder panics");
            counters.get(&deployment).map(watch::Sender::subscribe)
        };
        if let Some(mut counter) = counter {
            // The sender goes when the last request has ended.
            let _ = counter.wait_for(|count| *count == 0).await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut counters = self.in_flight.counters.lock().expect("no holder panics");
        let Some(counter) = counters.get(&self.deployment) else { return };
        counter.send_modify(|count| *count -= 1);
        if *counter.borrow() == 0 {
            counters.remove(&self.deployment);
        }
    }
}
