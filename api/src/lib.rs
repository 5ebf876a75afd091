//! HTTP in and out: the API, and the router of deployed servers.
//!
//! `routes` lists every route and what it needs; [`gate`] lets requests through; each resource has a folder.

mod audit;
pub mod auth;
mod body;
mod builds;
mod cli;
mod csv;
mod deployments;
mod dry_run;
mod endpoints;
mod env_vars;
mod environments;
mod error;
mod error_groups;
mod events;
mod export;
pub mod gate;
mod github;
pub mod limits;
mod log_records;
mod me;
mod measurements;
mod output;
mod platform;
mod project_tokens;
mod projects;
mod push_hooks;
mod refusal;
mod reply;
mod repository;
mod roles;
pub mod router;
mod routes;
mod scores;
mod shape;
mod sse;
mod system;
mod teams;
pub mod telemetry;
mod tokens;
mod traces;
mod webhooks;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use http::{HeaderValue, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use audit::show_event;
pub use cli::UploadRoom;
pub use error::ApiError;
pub use platform::{Platform, Settings};

/// The whole of HTTP: API, documentation, deployed servers.
pub fn app(platform: Arc<Platform>) -> axum::Router {
    let mut api = axum::Router::new();
    for route in routes::table() {
        let gate = from_fn_with_state((platform.clone(), route.needs, route.as_of), gate::gate);
        // The gate has read the body, within bounds of its own.
        api = api.route(route.path, route.service.layer(DefaultBodyLimit::disable()).layer(gate));
    }
    let api = api
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        // What is uploaded passes no gate, which would read all of it before anything else.
        .route("/v1/uploads/{build}/{secret}", put(cli::upload::put))
        .route("/v1/auth/login", get(cli::login::show).post(cli::login::sign_in))
        .route("/v1/auth/login/confirm", post(cli::login::confirm))
        .route("/access/{environment}", get(router::access))
        .route("/p/{team}/{project}", any(router::by_path))
        .route("/p/{team}/{project}/", any(router::by_path))
        .route("/p/{team}/{project}/{*rest}", any(router::by_path));
    let complete = from_fn_with_state(platform.clone(), complete);
    let apps = from_fn_with_state(platform.clone(), router::by_host);
    let all = api.with_state(platform).merge(docs());
    // Whatever is for an app's host is taken before anything of the platform could answer.
    all.layer(apps).layer(CatchPanicLayer::custom(panicked)).layer(complete)
}

/// What a handler answers that panicked.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = said, "a handler panicked: {said}");
    let detail = "Something went wrong on our side; it was logged.";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail).into_response()
}

/// Gives every request its id and the address of its client. Problems that did not come from behind the gate get the
/// id here.
async fn complete(State(platform): State<Arc<Platform>>, mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        let ip = limits::client(peer.ip(), request.headers(), &platform.settings.trusted_proxies);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(ip, peer.port())));
    }
    let id = gate::request_id(&request);
    request.extensions_mut().insert(gate::RequestId(id.clone()));
    let span = tracing::info_span!("request", request.id = id);
    let response = next.run(request).instrument(span).await;
    if response.extensions().get::<error::ProblemBody>().is_some() {
        return gate::finish(response, &id);
    }
    response
}

/// The page that shows the OpenAPI document. Every file of it comes from here: no badge of the makers' validator.
fn docs() -> axum::Router {
    let page = SwaggerUi::new("/docs").config(Config::from("/openapi.json").validator_url("none"));
    axum::Router::from(page).layer(map_response(|mut response: Response| async {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(OWN_FILES));
        response
    }))
}

/// Swagger UI styles its elements by attributes; all else are its own files.
const OWN_FILES: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                         object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

async fn not_found() -> ApiError {
    ApiError::not_found()
}

async fn method_not_allowed() -> ApiError {
    let detail = "This resource does not know this method.";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
