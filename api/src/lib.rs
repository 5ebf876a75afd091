//! HTTP in and out: the API, and the router of deployed servers.
//!
//! [`routes`] lists every route and what it needs; [`gate`] lets requests through; each resource has a folder.

mod audit;
pub mod auth;
mod body;
mod builds;
mod deployments;
mod env_vars;
mod environments;
mod error;
pub mod gate;
mod me;
mod output;
mod platform;
mod project_tokens;
mod projects;
mod reply;
mod roles;
pub mod router;
mod routes;
mod system;
mod teams;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::StatusCode;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use error::ApiError;
pub use platform::{Platform, Settings};

/// The whole of HTTP: API, documentation, deployed servers.
pub fn app(platform: Arc<Platform>) -> axum::Router {
    let mut api = axum::Router::new();
    for route in routes::table() {
        let gate = from_fn_with_state((platform.clone(), route.needs), gate::gate);
        api = api.route(route.path, route.service.layer(gate));
    }
    let api = api
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .route("/p/{team}/{project}", any(deployed))
        .route("/p/{team}/{project}/", any(deployed))
        .route("/p/{team}/{project}/{*rest}", any(deployed));
    let docs = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    api.with_state(platform)
        .merge(docs)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            let detail = "Something went wrong on our side; it was logged.";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail).into_response()
        }))
        .layer(from_fn(complete))
}

/// Problems that did not come from behind the gate get their request's id here.
async fn complete(request: Request, next: Next) -> Response {
    let id = gate::request_id(request.headers());
    let response = next.run(request).await;
    if response.extensions().get::<error::ProblemBody>().is_some() {
        return gate::finish(response, &id);
    }
    response
}

async fn deployed(State(platform): State<Arc<Platform>>, request: Request) -> Response {
    platform.router.handle(request).await
}

async fn not_found() -> ApiError {
    ApiError::not_found()
}

async fn method_not_allowed() -> ApiError {
    let detail = "This resource does not know this method.";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
