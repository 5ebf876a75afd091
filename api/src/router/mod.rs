//! The router: sends requests for `/p/{team}/{project}[/{environment}]/…` to the deployed server.
//!
//! When the segment behind the project is the slug of one of its environments, it is that environment;
//! otherwise it belongs to the app's own path, and the environment is production.

mod forward;
mod headers;
mod in_flight;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use domain::ids::DeploymentId;
use domain::ports::traffic::Traffic;
use http::StatusCode;
use projections::feed::Feed;
use projections::routes::{self, RouteRow};
use sqlx::PgPool;
use tokio::sync::watch;

use self::forward::Forwarder;
use self::in_flight::InFlight;
use crate::error::ApiError;

/// The environment of a path that names none.
const DEFAULT: &str = "production";
/// How long to wait for a call before the table is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a request goes: the newest running server first, the one before in reserve.
type Servers = Vec<(DeploymentId, SocketAddr)>;

/// The router.
pub struct Router {
    table: RwLock<HashMap<(String, String), HashMap<String, Servers>>>,
    /// Position of the log that the table is true for.
    position: watch::Sender<i64>,
    in_flight: InFlight,
    forwarder: Forwarder,
}

impl Router {
    /// A router that follows the query tables.
    pub fn start(pool: PgPool, feed: &Feed, is_https: bool) -> Arc<Self> {
        let router = Arc::new(Self {
            table: RwLock::default(),
            position: watch::Sender::new(-1),
            in_flight: InFlight::default(),
            forwarder: Forwarder::new(is_https),
        });
        tokio::spawn(follow(Arc::downgrade(&router), pool, feed.moved("routes")));
        router
    }

    /// Waits until the table is true for a position of the log, or until `patience` ends.
    pub(crate) async fn seen(&self, position: i64, patience: Duration) {
        let mut seen = self.position.subscribe();
        let _ = tokio::time::timeout(patience, seen.wait_for(|seen| *seen >= position)).await;
    }

    /// Sends a request on, and its answer back.
    pub async fn handle(&self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let Some(target) = self.target(&path) else { return ApiError::not_found().into_response() };
        let Target { servers, prefix } = target;
        let mut request = Some(request);
        for (n, (deployment, address)) in servers.iter().enumerate() {
            let guard = self.in_flight.enter(*deployment);
            let Some(sent) = request.take() else { break };
            match self.forwarder.send(sent, *address, &prefix, guard).await {
                Ok(response) => return response,
                // It never left: the one before may take it.
                Err(forward::Failure::NotSent(back)) => {
                    tracing::debug!(deployment.id = %deployment, attempt = n, "server of {deployment} is not there");
                    request = Some(*back);
                }
                Err(forward::Failure::Lost(problem)) => return problem.into_response(),
            }
        }
        unavailable().into_response()
    }

    /// Which servers, and the part of the path that is the platform's.
    fn target(&self, path: &str) -> Option<Target> {
        let mut segments = path.strip_prefix("/p/")?.splitn(4, '/');
        let (team, project) = (segments.next()?, segments.next()?);
        let third = segments.next();
        let table = self.table.read().expect("no holder panics");
        let environments = table.get(&(team.to_owned(), project.to_owned()))?;
        let named = third.and_then(|slug| Some((slug, environments.get(slug)?)));
        let (servers, prefix) = match named {
            Some((slug, servers)) => (servers, format!("/p/{team}/{project}/{slug}")),
            None => (environments.get(DEFAULT)?, format!("/p/{team}/{project}")),
        };
        Some(Target { servers: servers.clone(), prefix })
    }

    fn replace(&self, position: i64, rows: Vec<RouteRow>) {
        let mut table: HashMap<_, HashMap<String, Servers>> = HashMap::new();
        for row in rows {
            let parsed =
                row.servers.into_iter().filter_map(|(id, address)| Some((id, address.parse().ok()?)));
            table.entry((row.team, row.project)).or_default().insert(row.environment, parsed.collect());
        }
        *self.table.write().expect("no holder panics") = table;
        self.position.send_replace(position);
    }
}

struct Target {
    servers: Servers,
    prefix: String,
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

fn unavailable() -> ApiError {
    let detail = "Nothing is running here at the moment.";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "nothing_running", detail).with_retry_after(5)
}

#[async_trait]
impl Traffic for Router {
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
