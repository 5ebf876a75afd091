//! Requests for deployed servers, in the host form and in the path form.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::ids::EnvironmentId;
use http::{StatusCode, header};

use super::hosts::{Host, PathForm};
use super::table::{Route, Target};
use super::{access, sign_in, unavailable};
use crate::error::ApiError;
use crate::platform::Platform;

/// Environments that have series of their own in the metrics of one server process.
const SERIES: usize = 1000;

/// How often a request is sent that no server takes.
const SENDS: usize = 3;

/// Takes what is for an app's host; nothing of the platform answers there.
pub(crate) async fn by_host(State(platform): State<Arc<Platform>>, request: Request, next: Next) -> Response {
    let Some(hosts) = &platform.router.hosts else { return next.run(request).await };
    let host = match host(&request) {
        Ok(host) => host,
        Err(problem) => return problem.into_response(),
    };
    let label = match hosts.read(&host) {
        Host::Platform => return next.run(request).await,
        Host::App(label) => label,
    };
    match label.and_then(|label| platform.router.of_label(label)) {
        Some(target) => serve(&platform, target, request).await,
        None => ApiError::not_found().into_response(),
    }
}

/// `/p/{team}/{project}[/{environment}]/…`
pub(crate) async fn by_path(State(platform): State<Arc<Platform>>, request: Request) -> Response {
    let Some(target) = platform.router.of_path(request.uri().path()) else {
        return ApiError::not_found().into_response();
    };
    match &platform.router.hosts {
        None => serve(&platform, target, request).await,
        Some(hosts) if hosts.path_form == PathForm::Refuse => ApiError::not_found().into_response(),
        Some(hosts) => {
            let whole = request.uri().path_and_query().map_or("/", |whole| whole.as_str());
            let rest = whole.strip_prefix(&target.prefix).unwrap_or("/");
            let slash = if rest.starts_with('/') { "" } else { "/" };
            let there = format!("{}{slash}{rest}", hosts.origin(&target.route.label));
            (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, there)]).into_response()
        }
    }
}

async fn serve(platform: &Arc<Platform>, mut target: Target, request: Request) -> Response {
    let started = Instant::now();
    let response = match answer(platform, &mut target, request).await {
        Ok(response) | Err(response) => response,
    };
    measure(&target.route, response.status(), started.elapsed());
    response
}

async fn answer(
    platform: &Arc<Platform>,
    target: &mut Target,
    request: Request,
) -> Result<Response, Response> {
    let (mut parts, body) = request.into_parts();
    if let Some(come_in) = sign_in::door(platform, target, &parts).await {
        return Ok(come_in);
    }
    // To find out who asks takes a while: servers may have changed, and who may ask.
    let standing = loop {
        let standing = access::admit(platform, target, &mut parts).await?;
        let Some(now) = platform.router.of_environment(target.route.environment) else {
            return Err(ApiError::not_found().into_response());
        };
        let is_same = now.protection == target.route.protection;
        target.route = now;
        if is_same {
            break standing;
        }
    };
    let mut request = Request::from_parts(parts, body);
    for left in (0..SENDS).rev() {
        let awake = platform.router.awake(platform, target.route.clone()).await;
        target.route = awake.map_err(IntoResponse::into_response)?;
        let lost = || Some(access::lost(platform.clone(), &target.route, standing.clone()));
        request = match platform.router.send(target, request, lost).await {
            Ok(response) => return Ok(response),
            Err(untaken) => *untaken,
        };
        // What is known of its servers is old, if there are any.
        if left == 0 || target.route.servers.is_empty() {
            break;
        }
        let Some(now) = platform.router.news(&target.route).await else { break };
        target.route = now;
    }
    Err(unavailable().into_response())
}

/// Counts an answer under its environment. Names come from the table alone, and beyond so many they are one.
fn measure(route: &Route, status: StatusCode, took: Duration) {
    static NAMED: LazyLock<Mutex<HashSet<EnvironmentId>>> = LazyLock::new(Mutex::default);
    let is_named = {
        let mut named = NAMED.lock().expect("no holder panics");
        named.contains(&route.environment) || (named.len() < SERIES && named.insert(route.environment))
    };
    let (project, environment) = if is_named { route.name.clone() } else { ("other".into(), "other".into()) };
    let class = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let labels = [("project", project), ("environment", environment), ("status", class.to_owned())];
    metrics::counter!("mastra_admin_router_requests_total", &labels).increment(1);
    metrics::histogram!("mastra_admin_router_seconds").record(took);
}

/// The host that a request is for: that of its target when it names one (RFC 9112, 3.2.2).
fn host(request: &Request) -> Result<String, ApiError> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.as_str().rsplit('@').next().unwrap_or_default().to_owned());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let first = hosts.next().and_then(|host| host.to_str().ok());
    match (first, hosts.next()) {
        (Some(host), None) => Ok(host.to_owned()),
        // Whoever reads another one of them than we do would let the wrong page in.
        _ => Err(ApiError::field("Host", "invalid", "must be one host name")),
    }
}
