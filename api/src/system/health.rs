//! `GET /api/health`: whether the server and its database are there.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;

use crate::platform::Platform;

/// A database that takes longer to answer is not healthy.
const PATIENCE: Duration = Duration::from_secs(3);

/// What load balancers look at.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// `ok` or `error`.
    status: &'static str,
    timestamp: DateTime<Utc>,
    database: Database,
    environment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Database {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    connected: bool,
}

#[utoipa::path(get, path = "/api/health", operation_id = "health", tag = "system",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(crate) async fn handler(State(platform): State<Arc<Platform>>) -> (StatusCode, Json<Health>) {
    let connected = is_connected(&platform.pool).await;
    let (code, status, database) = if connected {
        (StatusCode::OK, "ok", "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "error", "unhealthy")
    };
    let health = Health {
        status,
        timestamp: (platform.now)(),
        database: Database { status: database, connected },
        environment: platform.settings.environment.clone(),
        error: (!connected).then_some("the database does not answer"),
    };
    (code, Json(health))
}

/// Whether the database answers in time.
pub(super) async fn is_connected(pool: &PgPool) -> bool {
    let asked = sqlx::query("SELECT 1").execute(pool);
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(_)))
}
