//! Signing in and out, accounts, passwords, sessions.

pub(crate) mod account;
mod login;
mod logout;
mod password;
mod providers;
mod register;
mod sessions;
mod setup;
mod sign_in;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::platform::Platform;

pub(crate) fn routes() -> OpenApiRouter<Arc<Platform>> {
    OpenApiRouter::new()
        .routes(routes!(providers::handler))
        .routes(routes!(setup::handler))
        .routes(routes!(register::handler))
        .routes(routes!(login::handler))
        .routes(routes!(logout::handler))
        .routes(routes!(password::handler))
        .routes(routes!(sessions::list::handler))
        .routes(routes!(sessions::end::handler))
        .routes(routes!(sessions::end_others::handler))
}
