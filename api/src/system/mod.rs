//! Is it there, is it ready, what does it offer.

mod document;
mod health;
mod metrics;
mod ready;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::platform::Platform;

pub(crate) fn routes() -> OpenApiRouter<Arc<Platform>> {
    OpenApiRouter::new()
        .routes(routes!(health::handler))
        .routes(routes!(ready::handler))
        .routes(routes!(metrics::handler))
        .routes(routes!(document::handler))
}
