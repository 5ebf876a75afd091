//! How a person gets into a protected environment with a browser.
//!
//! In the path form the app is on the platform's host, and the platform's session is enough. In the host form it is
//! not sent there: the app's host sends the browser to `/access/{environment}` of the platform's, which sends it back
//! with a code that is good once, for a minute, and for the browser that asked; for it the browser gets a cookie of the
//! app's host alone.
//!
//! Invariant: no code and no cookie lets in by itself: they say whose session it is, and that session is asked.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use commands::access_codes;
use domain::ids::{EnvironmentId, SessionId, UserId};
use domain::sealed::KeyOwner;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::{has_session, is_navigation, is_of_own_page, standing};
use super::table::Target;
use crate::auth::authorize::is_own_path;
use crate::auth::login::cookie;
use crate::auth::token::random;
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::{self, Caller, Principal, cookie_of};
use crate::platform::Platform;

/// Where an app's host takes a code.
const DOOR: &str = "/.mastra/access";
/// The longest address that is come back to.
const LONGEST: usize = 1000;
/// How long a code is good.
const CODE: TimeDelta = TimeDelta::minutes(1);
/// How long the cookie of an app's host is good, if the session lasts so long.
const COOKIE: TimeDelta = TimeDelta::hours(12);

/// What a browser brings back from the platform's host.
#[derive(Debug, Serialize, Deserialize)]
struct Code {
    id: Uuid,
    pass: Pass,
    /// What the app's host gave the browser that it sent away.
    state: String,
    return_to: String,
}

/// What a browser shows an app's host.
#[derive(Debug, Serialize, Deserialize)]
struct Pass {
    environment: EnvironmentId,
    user: UserId,
    session: SessionId,
    until: DateTime<Utc>,
}

impl Code {
    const SEAL: &str = "code for a protected app";
}

impl Pass {
    const SEAL: &str = "cookie of a protected app";
}

fn cookie_name(platform: &Platform, what: &str) -> String {
    format!("{}mastra_access{what}", if platform.is_https() { "__Host-" } else { "" })
}

/// Whose browser it is.
pub(super) async fn browser(
    platform: &Platform,
    target: &Target,
    parts: &Parts,
) -> Result<Option<Caller>, ApiError> {
    if !is_of_own_page(parts) {
        return Ok(None);
    }
    if platform.router.hosts.is_none() {
        return match has_session(platform, &parts.headers) {
            true => gate::visitor_with_cookie(platform, parts).await,
            false => Ok(None),
        };
    }
    let name = cookie_name(platform, "");
    let Some(sealed) = cookie_of(&parts.headers, &name) else { return Ok(None) };
    let Some(pass) = open::<Pass>(platform, Pass::SEAL, sealed).await else { return Ok(None) };
    if pass.environment != target.route.environment || pass.until <= (platform.now)() {
        return Ok(None);
    }
    let (user, session) = (pass.user, pass.session);
    if !platform.sessions.is_open(session, (platform.now)()).await? {
        return Ok(None);
    }
    gate::visitor_as(platform, parts, Principal::Session { user, session, csrf_token: String::new() })
        .map(Some)
}

/// Takes a code, if that is what a request is, and answers with the cookie.
pub(super) async fn door(platform: &Platform, target: &Target, parts: &Parts) -> Option<Response> {
    if platform.router.hosts.is_none() || parts.uri.path() != DOOR {
        return None;
    }
    let query = parts.uri.query().unwrap_or_default();
    let code = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "code");
    let code = code.map(|(_, code)| code.into_owned()).unwrap_or_default();
    let refused = match come_in(platform, target, &parts.headers, &code).await {
        Ok(come_in) => return Some(come_in),
        Err(refused) => refused,
    };
    // Another tab of the same browser was first, or the page is loaded again.
    let is_in = is_navigation(parts) && matches!(browser(platform, target, parts).await, Ok(Some(_)));
    Some(if is_in { see_other("/") } else { refused.into_response() })
}

async fn come_in(
    platform: &Platform,
    target: &Target,
    headers: &HeaderMap,
    code: &str,
) -> Result<Response, ApiError> {
    let code = open::<Code>(platform, Code::SEAL, code).await.ok_or_else(ApiError::unauthorized)?;
    let (now, state) = ((platform.now)(), cookie_name(platform, "_state"));
    let is_here = code.pass.environment == target.route.environment && now < code.pass.until;
    if !is_here || cookie_of(headers, &state) != Some(&code.state) {
        return Err(ApiError::unauthorized());
    }
    if !access_codes::use_up(&platform.pool, code.id, now).await? {
        return Err(ApiError::unauthorized());
    }
    let sealed = seal(platform, Pass::SEAL, &Pass { until: now + COOKIE, ..code.pass }).await?;
    let kept = cookie(platform, &cookie_name(platform, ""), &sealed);
    let mut response = see_other(&code.return_to);
    set_cookie(&mut response, &format!("{kept}; Max-Age={}", COOKIE.num_seconds()));
    set_cookie(&mut response, &format!("{}; Max-Age=0", cookie(platform, &state, "")));
    Ok(response)
}

/// Sends a person to sign in; a program is told that it must.
pub(super) fn ask(platform: &Platform, target: &Target, parts: &Parts) -> Response {
    if !is_navigation(parts) {
        let mut response = ApiError::unauthorized().into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let return_to = parts.uri.path_and_query().map_or("/", |whole| whole.as_str());
    // It is wrapped twice on its way, and addresses have an end.
    let return_to = if is_own_path(return_to) && return_to.len() <= LONGEST { return_to } else { "/" };
    let state = random();
    let query = encoded(&[("returnTo", return_to), ("state", &state), ("label", &target.route.label)]);
    let base = platform.settings.public_url.trim_end_matches('/');
    let mut response = see_other(&format!("{base}/access/{}?{query}", target.route.environment));
    if platform.router.hosts.is_some() {
        let kept = cookie(platform, &cookie_name(platform, "_state"), &state);
        set_cookie(&mut response, &format!("{kept}; Max-Age=600"));
    }
    response
}

/// Where a browser wants to go.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wish {
    return_to: String,
    state: String,
    /// Of the host that sent the browser, when the environment has several: under old slugs of its team.
    label: Option<String>,
}

/// `GET /access/{environment}` — sends who may use it back to where he came from, and all others to sign in.
pub(crate) async fn access(
    State(platform): State<Arc<Platform>>,
    Path(environment): Path<String>,
    Query(wish): Query<Wish>,
    parts: Parts,
) -> Result<Response, ApiError> {
    if !is_own_path(&wish.return_to) {
        return Err(ApiError::field("returnTo", "invalid", "must be a path, like /chat"));
    }
    let caller = match has_session(&platform, &parts.headers) {
        true => gate::visitor_with_cookie(&platform, &parts).await?,
        false => None,
    };
    let Some(caller) = caller else { return Ok(sign_in(&platform, &parts)) };
    let id = environment.parse().map_err(|_| ApiError::not_found())?;
    let route = platform.router.of_environment(id).ok_or_else(ApiError::not_found)?;
    if !standing(&route, &caller).holds(&platform).await? {
        return Err(ApiError::not_found());
    }
    let (Some(hosts), Principal::Session { user, session, .. }) = (&platform.router.hosts, caller.principal)
    else {
        return Ok(see_other(&wish.return_to));
    };
    let label = wish.label.filter(|label| {
        platform.router.of_label(label).is_some_and(|it| it.route.environment == route.environment)
    });
    let origin = hosts.origin(label.as_deref().unwrap_or(&route.label));
    if route.protection.is_public() {
        // Nobody needs a code there, and so nobody gets one.
        return Ok(see_other(&format!("{origin}{}", wish.return_to)));
    }
    let until = (platform.now)() + CODE;
    let pass = Pass { environment: route.environment, user, session, until };
    let Wish { return_to, state, .. } = wish;
    let code = seal(&platform, Code::SEAL, &Code { id: platform.new_id(), pass, state, return_to }).await?;
    Ok(see_other(&format!("{origin}{DOOR}?{}", encoded(&[("code", &code)]))))
}

/// To the one sign-in provider there is, or to a page that names them all.
fn sign_in(platform: &Platform, parts: &Parts) -> Response {
    let here = parts.uri.path_and_query().map_or("/", |whole| whole.as_str());
    if let [only] = &platform.auth[..] {
        return see_other(&way(only.id(), here));
    }
    let links = providers_of(platform, here);
    let page = format!(
        "<!doctype html><html lang=\"en\"><title>Sign in</title><h1>Sign in</h1>\
         <p>This app is for people of its team. Sign in to the platform, then load this page again.</p>\
         {links}</html>"
    );
    let csp = "default-src 'none'; frame-ancestors 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, csp), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::UNAUTHORIZED, headers, Html(page)).into_response()
}

/// A list of the sign-in providers, each of which leads back to a path.
pub(crate) fn providers_of(platform: &Platform, here: &str) -> String {
    let link = |id: &str| format!("<li><a href=\"{}\">{id}</a></li>", way(id, here));
    let links: String = platform.auth.iter().map(|provider| link(provider.id())).collect();
    format!("<ul>{links}</ul>")
}

fn way(id: &str, here: &str) -> String {
    format!("/api/v1/auth/{id}/authorize?{}", encoded(&[("returnTo", here)]))
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn see_other(to: &str) -> Response {
    let headers = [(header::LOCATION, to), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

async fn seal(platform: &Platform, aad: &str, it: &impl Serialize) -> Result<String, ApiError> {
    let text = serde_json::to_string(it).map_err(|error| ApiError::internal(&error))?;
    Ok(platform.commands.vault().seal_note(KeyOwner::System, aad, &text, (platform.now)()).await?)
}

/// What was sealed here for this purpose; nothing else.
async fn open<T: DeserializeOwned>(platform: &Platform, aad: &str, sealed: &str) -> Option<T> {
    let text = platform.commands.vault().open_note(KeyOwner::System, aad, sealed).await.ok()??;
    serde_json::from_str(&text).ok()
}
