//! The router: sends requests to deployed servers.
//!
//! In the host form an environment has a host name of its own (`hosts`). In the path form, which is all there is
//! without a base domain, it is `/p/{team}/{project}[/{environment}]/…`: when the segment behind the project is the
//! slug of one of its environments, it is that environment; otherwise it belongs to the app's own path, and the
//! environment is production.

mod access;
mod balance;
mod connection;
mod forward;
mod headers;
mod hold;
mod hosts;
mod in_flight;
mod serve;
mod sign_in;
mod table;
mod url;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use domain::ids::{DeploymentId, EnvironmentId};
use domain::ports::traffic::Traffic;
use http::StatusCode;
use projections::feed::Feed;
use projections::routes;
use sqlx::PgPool;
use tokio::sync::watch;

use self::balance::Balance;
use self::connection::{Connection, Lost};
use self::forward::Forwarder;
use self::hold::Held;
use self::in_flight::InFlight;
use self::table::{Route, Table, Target};
use crate::error::ApiError;

pub use forward::Patience;
pub use hosts::{Hosts, InvalidBase, PathForm};
pub(crate) use serve::{by_host, by_path};
pub(crate) use sign_in::{access, providers_of};
pub(crate) use url::Place;

/// The environment of a path or host that names none.
const DEFAULT: &str = "production";
/// How long to wait for a call before the table is read again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a request that no server took waits for other news of its environment.
const NEWS: Duration = Duration::from_secs(3);

/// The router.
pub struct Router {
    table: RwLock<Table>,
    /// Position of the log that the table is true for.
    position: watch::Sender<i64>,
    in_flight: InFlight,
    balance: Balance,
    held: Held,
    forwarder: Forwarder,
    hosts: Option<Hosts>,
}

impl Router {
    /// A router that follows the query tables.
    pub fn start(
        pool: PgPool,
        feed: &Feed,
        is_https: bool,
        hosts: Option<Hosts>,
        patience: Patience,
    ) -> Arc<Self> {
        let router = Arc::new(Self::new(is_https, hosts, patience));
        tokio::spawn(follow(Arc::downgrade(&router), pool, feed.moved("routes")));
        router
    }

    fn new(is_https: bool, hosts: Option<Hosts>, patience: Patience) -> Self {
        Self {
            table: RwLock::default(),
            position: watch::Sender::new(-1),
            in_flight: InFlight::default(),
            balance: Balance::default(),
            held: Held::default(),
            forwarder: Forwarder::new(is_https, patience),
            hosts,
        }
    }

    /// Waits until the table is true for a position of the log, or until `patience` ends.
    pub(crate) async fn seen(&self, position: i64, patience: Duration) {
        let mut seen = self.position.subscribe();
        let _ = tokio::time::timeout(patience, seen.wait_for(|seen| *seen >= position)).await;
    }

    /// The environment as soon as it is another than this; `None` when it stays so, or is no more.
    async fn news(&self, old: &Route) -> Option<Arc<Route>> {
        let mut moved = self.position.subscribe();
        let news = async {
            loop {
                moved.mark_unchanged();
                let now = self.of_environment(old.environment)?;
                // Who may use it was asked for as it was.
                if now.protection != old.protection {
                    return None;
                }
                if (&now.servers, now.asleep) != (&old.servers, old.asleep) {
                    return Some(now);
                }
                moved.changed().await.ok()?;
            }
        };
        tokio::time::timeout(NEWS, news).await.ok()?
    }

    /// Sends a request to the first deployment of which a server takes it; it comes back when none does. The answer is
    /// cut when `lost` ends.
    async fn send(
        &self,
        target: &Target,
        request: Request,
        lost: impl Fn() -> Option<Lost>,
    ) -> Result<Response, Box<Request>> {
        let Target { route, prefix } = target;
        let mut request = Box::new(request);
        for (deployment, servers) in &route.servers {
            let mut asked = Vec::new();
            while let Some((server, place)) = self.balance.choose(*deployment, servers, &asked) {
                asked.push(server);
                let connection = Connection::new(self.in_flight.enter(*deployment), place, lost());
                let answer = self.forwarder.send(*request, server, prefix, connection).await;
                if let Some(answered) = is_there(&answer).filter(|_| servers.len() > 1) {
                    self.balance.note(*deployment, server, answered);
                }
                request = match answer {
                    Ok(response) => return Ok(response),
                    // It never left: another one or the one before may take it.
                    Err(forward::Failure::NotSent(back)) => {
                        tracing::debug!(deployment.id = %deployment, %server, "server of {deployment} is not there");
                        back
                    }
                    // Once: a request that ends servers must not end all of them.
                    Err(forward::Failure::Broken(_, Some(back))) if asked.len() == 1 && servers.len() > 1 => {
                        back
                    }
                    Err(forward::Failure::Broken(problem, _) | forward::Failure::Lost(problem)) => {
                        return Ok(problem.into_response());
                    }
                };
            }
        }
        Err(request)
    }

    /// Which environment a path of the path form is.
    fn of_path(&self, path: &str) -> Option<Target> {
        self.table.read().expect("no holder panics").of_path(path)
    }

    /// Which environment has this label.
    fn of_label(&self, label: &str) -> Option<Target> {
        self.table.read().expect("no holder panics").of_label(label)
    }

    /// An environment by its id.
    fn of_environment(&self, id: EnvironmentId) -> Option<Arc<Route>> {
        self.table.read().expect("no holder panics").of_environment(id)
    }

    fn replace(&self, position: i64, rows: Vec<routes::RouteRow>) {
        self.in_flight.forget_all_but(rows.iter().flat_map(|row| row.servers.iter().map(|(id, _)| *id)));
        let table = Table::new(rows);
        self.balance.forget_all_but(table.servers());
        *self.table.write().expect("no holder panics") = table;
        self.position.send_replace(position);
    }
}

/// Reads the table whenever the query table behind it has moved. Ends with the router.
async fn follow(router: std::sync::Weak<Router>, pool: PgPool, mut moved: watch::Receiver<i64>) {
    loop {
        moved.mark_unchanged();
        let loaded = routes::load_all(&pool).await;
        let Some(router) = router.upgrade() else { return };
        match loaded {
            Ok((position, rows)) => router.replace(position, rows),
            // The server is shutting down.
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => tracing::warn!(%error, "the routes could not be read: {error}"),
        }
        drop(router);
        // Another process may move the table: then it is looked at once a second.
        let _ = tokio::time::timeout(AGAIN, moved.changed()).await;
    }
}

/// Whether a server showed that it is there, or that it is not. What broke off may have been broken off by who asked.
fn is_there(answer: &Result<Response, forward::Failure>) -> Option<bool> {
    match answer {
        Ok(_) | Err(forward::Failure::Lost(_)) => Some(true),
        Err(forward::Failure::NotSent(_) | forward::Failure::Broken(_, Some(_))) => Some(false),
        Err(forward::Failure::Broken(_, None)) => None,
    }
}

fn unavailable() -> ApiError {
    let detail = "Nothing is running here at the moment.";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "nothing_running", detail).with_retry_after(5)
}

#[async_trait]
impl Traffic for Router {
    fn address(&self, public_url: &str, (team, project, environment): (&str, &str, &str)) -> String {
        if let Some(hosts) = &self.hosts {
            return hosts.origin(&hosts::label(team, project, environment));
        }
        let base = public_url.trim_end_matches('/');
        let named = if environment == DEFAULT { String::new() } else { format!("/{environment}") };
        format!("{base}/p/{team}/{project}{named}")
    }

    fn idle(&self, deployment: DeploymentId) -> Option<Duration> {
        self.in_flight.idle(deployment)
    }

    async fn drained(&self, deployment: DeploymentId, position: i64, timeout: Duration) {
        let mut seen = self.position.subscribe();
        let wait = async {
            // An error would mean that the router is gone, and its requests with it.
            let _ = seen.wait_for(|seen| *seen >= position).await;
            self.in_flight.empty(deployment).await;
        };
        if tokio::time::timeout(timeout, wait).await.is_err() {
            tracing::info!(deployment.id = %deployment, "requests of {deployment} did not end in time and are cut");
        }
    }
}

#[cfg(test)]
mod tests;
