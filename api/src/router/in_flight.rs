//! How many requests are under way to each deployment, and since when there was none.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::ids::DeploymentId;
use tokio::sync::watch;

/// Counters by deployment; one without requests has the time when the last one ended.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<Counters>>);

#[derive(Default)]
struct Counters {
    under_way: HashMap<DeploymentId, watch::Sender<usize>>,
    ended: HashMap<DeploymentId, Instant>,
}

/// One request under way; it ends when this is dropped.
pub(super) struct Guard {
    in_flight: InFlight,
    deployment: DeploymentId,
}

impl InFlight {
    /// A request begins.
    pub(super) fn enter(&self, deployment: DeploymentId) -> Guard {
        let mut counters = self.0.lock().expect("no holder panics");
        let counter = counters.under_way.entry(deployment).or_insert_with(|| watch::Sender::new(0));
        counter.send_modify(|count| *count += 1);
        Guard { in_flight: self.clone(), deployment }
    }

    /// Returns when no request is under way.
    pub(super) async fn empty(&self, deployment: DeploymentId) {
        let counter = {
            let counters = self.0.lock().expect("no holder panics");
            counters.under_way.get(&deployment).map(watch::Sender::subscribe)
        };
        if let Some(mut counter) = counter {
            // The sender goes when the last request has ended.
            let _ = counter.wait_for(|count| *count == 0).await;
        }
    }

    /// For how long no request was under way; `None` when there never was one.
    pub(super) fn idle(&self, deployment: DeploymentId) -> Option<Duration> {
        let counters = self.0.lock().expect("no holder panics");
        if counters.under_way.contains_key(&deployment) {
            return Some(Duration::ZERO);
        }
        counters.ended.get(&deployment).map(Instant::elapsed)
    }

    /// Forgets when the last request ended to what is not among these.
    pub(super) fn forget_all_but(&self, kept: impl Iterator<Item = DeploymentId>) {
        let mut counters = self.0.lock().expect("no holder panics");
        if counters.ended.is_empty() {
            return;
        }
        let kept: HashSet<DeploymentId> = kept.collect();
        counters.ended.retain(|deployment, _| kept.contains(deployment));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut counters = self.in_flight.0.lock().expect("no holder panics");
        let Counters { under_way, ended } = &mut *counters;
        let Some(counter) = under_way.get(&self.deployment) else { return };
        counter.send_modify(|count| *count -= 1);
        if *counter.borrow() == 0 {
            under_way.remove(&self.deployment);
            ended.insert(self.deployment, Instant::now());
        }
    }
}
