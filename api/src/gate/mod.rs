//! The gate: every request passes it. It finds out who asks, what about, and whether they may.
//!
//! Invariant: a handler gets a `Scoped` team, project, environment, build or deployment only from here, from a
//! caller who may see it and do this to it.

mod api_token;
mod closed;
mod denied;
mod fresh;
mod identify;
mod limited;
mod needs;
mod once;
mod past;
mod request_id;
mod scope;
mod search;
mod sender;
mod standing;
mod visitor;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use commands::{Context, Expected, IdempotencyKey, Mode};
use domain::envelope::Actor;
use domain::ids::{DeploymentId, ProjectId, TeamId, TokenId, UserId};
use domain::policy::Grant;
use domain::project::TokenScope;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::error::{ApiError, ProblemBody, SINCE, VERSION_MISMATCH};
use crate::platform::{PATIENCE, Platform};
use crate::reply::{X_EVENT_POSITION, X_PROJECTION_LAG};

pub(crate) use api_token::holds;
use denied::{About, Seen};
pub use fresh::Fresh;
pub(crate) use identify::{cookie as cookie_of, cookie_name, is_own_origin};
pub use needs::Needs;
pub use once::UnderWay;
pub(crate) use past::moment;
pub(crate) use request_id::{RequestId, request_id};
pub(crate) use scope::{EventAt, Given, GivenRole, Scoped, TeamPart, must_hold};
pub(crate) use search::{meant_team, named_team};
pub(crate) use sender::Sender;
pub(crate) use standing::{EVERY, Standing, while_standing};
pub(crate) use visitor::{visitor, visitor_as, visitor_with_cookie};

/// Whether a route answers `?asOf=`, and of which kinds of aggregates it then needs all of the team or project;
/// what its path names is always there.
pub(crate) type AsOf = Option<&'static [&'static str]>;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    /// Nobody in particular.
    Nobody,
    /// A person with a session.
    Session { user: UserId, session: domain::ids::SessionId, csrf_token: String },
    /// A person's token; without scopes it may do all that the person may.
    PersonalToken { token: TokenId, user: UserId, scopes: Vec<TokenScope> },
    /// A person's access token of a sign-in provider.
    ProviderToken { user: UserId },
    /// A project's token.
    ProjectToken { token: TokenId, project: ProjectId, scopes: Vec<TokenScope> },
    /// The server of a deployment: it sends telemetry, and may do nothing else.
    Deployment { deployment: DeploymentId, project: ProjectId },
}

/// Who asks, from where, under which circumstances.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) ip: IpAddr,
    request_id: String,
    user_agent: Option<String>,
    traceparent: Option<String>,
    key: Option<IdempotencyKey>,
    expected: Expected,
    mode: Mode,
    at: chrono::DateTime<chrono::Utc>,
    about: Arc<About>,
}

impl Caller {
    /// The person who asks; only routes that need one call it.
    pub(crate) fn user(&self) -> Result<UserId, ApiError> {
        match &self.principal {
            Principal::Session { user, .. }
            | Principal::PersonalToken { user, .. }
            | Principal::ProviderToken { user } => Ok(*user),
            Principal::Nobody => Err(ApiError::unauthorized()),
            Principal::ProjectToken { .. } | Principal::Deployment { .. } => {
                Err(ApiError::forbidden("This needs a person, not a project's token."))
            }
        }
    }

    /// The circumstances of a command.
    pub(crate) fn context(&self, team_id: Option<TeamId>) -> Context {
        let (actor, on_behalf_of) = match &self.principal {
            Principal::Nobody => (Actor::Anonymous, None),
            Principal::Session { user, .. } | Principal::ProviderToken { user } => (Actor::User(*user), None),
            Principal::PersonalToken { token, user, .. } => (Actor::Token(*token), Some(Actor::User(*user))),
            Principal::ProjectToken { token, .. } => (Actor::Token(*token), None),
            Principal::Deployment { deployment, .. } => {
                (Actor::Process(format!("deployment/{deployment}")), None)
            }
        };
        Context {
            on_behalf_of,
            team_id,
            source_ip: Some(self.ip.to_string()),
            user_agent: self.user_agent.clone(),
            traceparent: self.traceparent.clone(),
            key: self.key.clone(),
            expected: self.expected,
            mode: self.mode,
            ..Context::bare(actor, self.request_id.clone(), self.at)
        }
    }

    /// The circumstances of a command that a person sends about themselves before they are signed in.
    pub(crate) fn context_as(&self, user: UserId) -> Context {
        Context { actor: Actor::User(user), ..self.context(None) }
    }

    /// The circumstances of one of several commands of the same request. Each has a key of its own; the version is
    /// asked for by the first alone, since the first changes it.
    pub(crate) fn step(&self, team_id: Option<TeamId>, n: usize) -> Context {
        let context = self.context(team_id);
        if n == 0 {
            return context;
        }
        let key = context.key.map(|key| IdempotencyKey { key: format!("{}/{n}", key.key), ..key });
        Context { key, expected: Expected::Any, ..context }
    }

    /// When the request came.
    pub(crate) fn at(&self) -> chrono::DateTime<chrono::Utc> {
        self.at
    }

    /// Whether this is a dry run.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.mode == Mode::DryRun
    }

    /// What the caller holds.
    pub(crate) async fn grants(&self, platform: &Platform) -> Result<Vec<Grant>, ApiError> {
        scope::grants(platform, &self.principal).await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Every route is behind the gate; a request without a caller did not come through it.
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthorized)
    }
}

/// Lets a request through or answers it.
pub(crate) async fn gate(
    State((platform, needs, as_of)): State<(Arc<Platform>, Needs, AsOf)>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let (method, path) = (request.method().to_string(), request.extensions().get::<MatchedPath>().cloned());
    let seen = Seen::of(&request, &id);
    let response = match pass(&platform, needs, as_of, request, &id, next, &seen).await {
        Ok(response) => response,
        Err(error) => axum::response::IntoResponse::into_response(error),
    };
    let mut response = denied::record(&platform, needs, &seen, response).await;
    seen.tell_room(&mut response);
    let route = path.map_or_else(String::new, |path| path.as_str().to_owned());
    let labels = [("method", method), ("route", route), ("status", response.status().as_str().to_owned())];
    metrics::histogram!("mastra_admin_http_seconds", &labels).record(started.elapsed());
    finish(response, &id)
}

/// Adds what every answer has.
pub(crate) fn finish(mut response: Response, request_id: &str) -> Response {
    if let Some(ProblemBody(mut body)) = response.extensions_mut().remove::<ProblemBody>() {
        body["requestId"] = request_id.into();
        *response.body_mut() = axum::body::Body::from(body.to_string());
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(http::header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn pass(
    platform: &Arc<Platform>,
    needs: Needs,
    as_of: AsOf,
    request: Request,
    id: &str,
    next: Next,
    seen: &Seen,
) -> Result<Response, ApiError> {
    seen.count_address(platform)?;
    let (mut parts, body) = request.into_parts();
    // Who signs in anew is not refused for an old session that a program still sends.
    let principal = match needs {
        Needs::Public => Principal::Nobody,
        _ => match identify::identify(platform, &parts, seen, id).await? {
            Principal::Nobody => return Err(ApiError::unauthorized()),
            somebody => somebody,
        },
    };
    seen.count_principal(platform, &principal)?;
    if let Err(error) = api_token::in_scope(needs, &principal, &parts.method) {
        // Whoever it is, it is known: the refusal is recorded as theirs.
        if let Ok(caller) = caller(platform, &parts, principal, id) {
            let _ = seen.caller.set(caller);
        }
        return Err(error);
    }
    let lags = !has_reached_position(platform, &parts).await?;
    let (body, hash) = sender::read_body(platform, needs, &principal, &mut parts, body).await?;
    let given = body.clone();
    let mut caller = caller(platform, &parts, principal, id)?;
    caller.key = once::key(&caller.principal, &parts.headers, hash)?;
    caller.about = seen.about.clone();
    let then = past::asked(platform, &parts, as_of.is_some()).await?;
    let _ = seen.caller.set(caller.clone());
    let sees = search::admit(platform, needs, then.zip(as_of), &caller, &mut parts, &given).await?;
    seen.count_team(platform)?;
    if needs.right().is_some() {
        let _ = seen.about.admitted.set(());
    }
    let key = caller.key.clone().filter(|_| caller.mode == Mode::Append);
    let takes = fresh::may_end_a_right(needs, &parts.method) && caller.mode == Mode::Append;
    let is_conditional = caller.expected != Expected::Any;
    parts.extensions.insert(caller);
    let request = Request::from_parts(parts, axum::body::Body::from(body));
    let mut response = match key {
        Some(key) => once::answer(platform, key, request, next).await?,
        None => next.run(request).await,
    };
    if takes {
        tokio::time::sleep(fresh::FRESH).await;
    }
    if !is_conditional {
        lost_race(&mut response);
    }
    if let Some(ProblemBody(Value::Object(problem))) = response.extensions_mut().get_mut().filter(|_| !sees) {
        problem.remove(SINCE);
    }
    if let Some(then) = then {
        response.headers_mut().insert(X_EVENT_POSITION, then.position.into());
    }
    if lags {
        response.headers_mut().insert(X_PROJECTION_LAG, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A version that the caller did not ask for is a race that was lost: 409, not 412.
fn lost_race(response: &mut Response) {
    let Some(ProblemBody(body)) = response.extensions_mut().get_mut() else { return };
    if body["code"] == VERSION_MISMATCH {
        body["status"] = StatusCode::CONFLICT.as_u16().into();
        body["title"] = "Conflict".into();
        body["code"] = "conflict".into();
        body["type"] = "urn:mastra-admin:problem:conflict".into();
        body["detail"] = "Somebody else changed this at the same time: read it again.".into();
        *response.status_mut() = StatusCode::CONFLICT;
    }
}

/// Reads may ask to see what an earlier command did: waits for it, as long as commands do.
async fn has_reached_position(platform: &Platform, parts: &Parts) -> Result<bool, ApiError> {
    let Some(position) = header(&parts.headers, "x-min-position").filter(|_| !is_unsafe(&parts.method))
    else {
        return Ok(true);
    };
    let position = position.parse().ok().filter(|position| *position >= 0);
    let position = position
        .ok_or_else(|| ApiError::field("X-Min-Position", "invalid", "must be a position of the log"))?;
    Ok(platform.feed.wait_for(position, PATIENCE).await)
}

fn caller(platform: &Platform, parts: &Parts, principal: Principal, id: &str) -> Result<Caller, ApiError> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let unsafe_method = is_unsafe(&parts.method);
    let dry = is_dry_run(parts)?;
    // What cannot be read is a condition all the same: it is refused below.
    let condition = parts.headers.get("if-match").map(|tag| tag.to_str().unwrap_or_default());
    let expected = match condition {
        Some("*") | None => Expected::Any,
        Some(_) if !unsafe_method => Expected::Any,
        Some(tag) => Expected::Exactly(version(tag)?),
    };
    Ok(Caller {
        principal,
        ip: peer.map_or(IpAddr::from([127, 0, 0, 1]), |ConnectInfo(peer)| peer.ip()),
        request_id: id.to_owned(),
        user_agent: header(&parts.headers, "user-agent").map(|text| text.chars().take(500).collect()),
        traceparent: header(&parts.headers, "traceparent").filter(|text| text.len() == 55).map(str::to_owned),
        key: None,
        expected,
        mode: if dry && unsafe_method { Mode::DryRun } else { Mode::Append },
        at: (platform.now)(),
        about: Arc::default(),
    })
}

/// Whether only the events are wanted. What is neither yes nor no is refused: nobody meant it to happen.
fn is_dry_run(parts: &Parts) -> Result<bool, ApiError> {
    let mut dry = false;
    for value in parameters(parts, "dryRun") {
        dry = match value.as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(ApiError::field("dryRun", "invalid", "must be true or false")),
        };
    }
    Ok(dry)
}

/// The values of a query parameter.
fn parameters(parts: &Parts, name: &'static str) -> impl Iterator<Item = String> {
    let query = parts.uri.query().unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(move |(key, _)| key == name);
    pairs.map(|(_, value)| value.into_owned())
}

/// Methods that change something.
pub(crate) fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `"7"` or `W/"7"`.
fn version(tag: &str) -> Result<i64, ApiError> {
    let quoted = tag.strip_prefix("W/").unwrap_or(tag);
    let version = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let version = version.filter(|version| version.bytes().all(|byte| byte.is_ascii_digit()));
    version
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| ApiError::field("If-Match", "invalid", "must be the ETag of an earlier answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_an_etag_and_nothing_like_it() {
        assert_eq!(version("\"7\"").ok(), Some(7));
        assert_eq!(version("W/\"7\"").ok(), Some(7));
        for odd in [
            "",
            "7",
            "\"",
            "\"\"",
            "\"7",
            "7\"",
            "\"-7\"",
            "\"+7\"",
            "W/W/\"7\"",
            "\"\"7\"\"",
            "\"7\", \"8\"",
            "\"99999999999999999999\"",
        ] {
            assert!(version(odd).is_err(), "{odd}");
        }
    }
}
