//! The person who calls.

mod change;
mod show;
mod tokens;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::platform::Platform;

pub(crate) fn routes() -> OpenApiRouter<Arc<Platform>> {
    OpenApiRouter::new()
        .routes(routes!(show::handler))
        .routes(routes!(change::handler))
        .routes(routes!(tokens::list::handler))
        .routes(routes!(tokens::create::handler))
        .routes(routes!(tokens::revoke::handler))
}
