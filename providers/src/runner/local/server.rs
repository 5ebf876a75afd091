//! Servers that are ready: followed, asked, stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::ids::DeploymentId;
use domain::ports::logs::Output;
use domain::ports::runner::{ExitReport, Health, Serving, Started};
use domain::values::HealthGate;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Inner;
use super::network::Ways;
use super::pump::Pump;
use super::sandbox::{Claim, Running};
use super::unpacked::Tree;
use crate::runner::directories::clear;
use crate::runner::ended;
use crate::runner::health;

/// A server that has just become ready.
pub(super) struct Ready {
    pub(super) address: SocketAddr,
    pub(super) running: Running,
    pub(super) pump: Pump,
    /// When it is healthy.
    pub(super) gate: HealthGate,
    /// Its modules stay as long as it runs.
    pub(super) tree: Tree,
    /// Where its network is its own.
    pub(super) ways: Option<Ways>,
}

/// A server that became ready.
pub(super) struct Server {
    address: SocketAddr,
    gate: HealthGate,
    claim: Arc<Claim>,
    running: Running,
    /// Set before it is asked to end, so that its end is no news.
    stopping: AtomicBool,
    /// Closed when its last output is stored.
    exit: watch::Receiver<Option<ExitReport>>,
}

impl Server {
    /// Where it is, and the promise to tell how it ends.
    pub(super) fn started(&self) -> Started {
        Started { serving: Serving::alone(self.address), exited: ended::told(&self.exit) }
    }
}

/// The name under which a deployment's sandbox runs.
pub(super) fn name(deployment: DeploymentId) -> String {
    format!("server-{deployment}")
}

/// The server, if it is ready.
pub(super) fn find(inner: &Inner, deployment: DeploymentId) -> Option<Arc<Server>> {
    inner.servers.lock().unwrap_or_else(PoisonError::into_inner).get(&deployment).cloned()
}

/// Takes in a server that became ready, and follows it to its end.
pub(super) fn attend(
    inner: Arc<Inner>,
    deployment: DeploymentId,
    Ready { address, running, pump, gate, tree, ways }: Ready,
    claim: Arc<Claim>,
    output: Arc<dyn Output>,
) -> Started {
    let (tell, exit) = watch::channel(None);
    let server = Arc::new(Server { address, gate, claim, running, stopping: AtomicBool::new(false), exit });
    let started = server.started();
    let servers = inner.servers.lock();
    servers.unwrap_or_else(PoisonError::into_inner).insert(deployment, server.clone());
    tokio::spawn(async move {
        server.running.gone().await;
        if let Some(ways) = &ways {
            // At once: whoever comes now is to be refused, and goes elsewhere.
            ways.close();
        }
        let ended = server.running.ended().await;
        inner.servers.lock().unwrap_or_else(PoisonError::into_inner).remove(&deployment);
        let tail = pump.finish().await;
        output.flush().await;
        if !server.stopping.load(Ordering::Acquire) && !server.claim.is_wanted() {
            tell.send_replace(Some(ended.report(&tail)));
        }
        drop(tree);
        drop(server); // gives the name back before anybody hears of it
        drop(tell);
    });
    started
}

/// Asks it once to end, waits for `grace`, then ends it. Returns when nothing of it is left.
pub(super) async fn stop(inner: &Inner, deployment: DeploymentId, grace: Duration) -> io::Result<()> {
    if let Some(server) = find(inner, deployment) {
        server.stopping.store(true, Ordering::Release);
        server.running.terminate();
        let _in_time = timeout(grace, server.running.ended()).await;
        server.claim.end().await;
        let mut exit = server.exit.clone();
        drop(server);
        while exit.changed().await.is_ok() {}
    }
    // Also ends one that is not ready yet, and one that an earlier life left.
    let _claim = inner.sandbox.claim(&name(deployment)).await?;
    clear(inner.servers_dir.join(deployment.to_string())).await;
    Ok(())
}

/// Whether it answers now.
pub(super) async fn health(inner: &Inner, deployment: DeploymentId) -> Health {
    let Some(server) = find(inner, deployment) else { return Health::Absent };
    match health::check(server.address, &server.gate).await {
        Ok(()) => Health::Healthy,
        Err(_) if server.exit.has_changed().is_err() => Health::Absent,
        Err(why) => Health::Unhealthy(why.to_string()),
    }
}
