//! `GET /metrics`: numbers for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};

use crate::platform::Platform;

#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "system",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
) -> ([(HeaderName, &'static str); 1], String) {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], platform.metrics.render())
}
