//! What was denied is recorded before it is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use commands::{Context, Mode};
use domain::access::{AccessEvent, AccessTarget};
use domain::envelope::Actor;
use domain::ids::{ProjectId, TeamId};
use http::{Method, StatusCode};
use uuid::Uuid;

use super::{Caller, Needs, is_unsafe};
use crate::error::{ApiError, ProblemBody};
use crate::limits::Room;
use crate::platform::Platform;

/// What a request turned out to be, as far as it got.
pub(super) struct Seen {
    method: Method,
    pub(super) route: String,
    request_id: String,
    pub(super) ip: Option<IpAddr>,
    pub(super) caller: OnceLock<Caller>,
    pub(super) about: Arc<About>,
    /// Set when the answer is to be recorded whatever was asked for.
    pub(super) for_the_record: OnceLock<()>,
    /// What is left in the tightest of the buckets that it was counted in.
    pub(super) room: Mutex<Option<Room>>,
}

/// What a request is about, when the gate or the handler has found out.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) place: OnceLock<Place>,
    /// Set when the caller may see it and do this to it.
    pub(super) admitted: OnceLock<()>,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) team_id: TeamId,
    pub(super) project_id: Option<ProjectId>,
    pub(super) kind: &'static str,
    pub(super) id: Uuid,
}

impl Seen {
    pub(super) fn of(request: &Request, request_id: &str) -> Self {
        let path = request.extensions().get::<MatchedPath>();
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self {
            method: request.method().clone(),
            route: path.map_or_else(String::new, |path| path.as_str().to_owned()),
            request_id: request_id.to_owned(),
            ip: peer.map(|ConnectInfo(peer)| peer.ip()),
            caller: OnceLock::new(),
            about: Arc::default(),
            for_the_record: OnceLock::new(),
            room: Mutex::default(),
        }
    }

    /// Whether the answer denies a command: what the caller may not do, or may not even see. Dry runs append nothing.
    /// Sign-in, which is open to everybody, records by itself who fails.
    fn is_denial(&self, needs: Needs, status: StatusCode) -> bool {
        if self.for_the_record.get().is_some() {
            return true;
        }
        let hidden = self.about.place.get().is_some() && self.about.admitted.get().is_none();
        let denied = status == StatusCode::FORBIDDEN || (status == StatusCode::NOT_FOUND && hidden);
        denied
            && is_unsafe(&self.method)
            && needs != Needs::Public
            && !self.caller.get().is_some_and(Caller::is_dry_run)
    }

    fn context(&self, platform: &Platform) -> Context {
        let team_id = self.about.place.get().map(|place| place.team_id);
        match self.caller.get() {
            Some(caller) => Context { key: None, mode: Mode::Append, ..caller.context(team_id) },
            // Refused before it was known who asks: from another site, say.
            None => Context {
                source_ip: self.ip.map(|ip| ip.to_string()),
                ..Context::bare(Actor::Anonymous, self.request_id.clone(), (platform.now)())
            },
        }
    }
}

/// Records the answer if it is a denial. If that cannot be done, the answer is that the platform is away.
pub(super) async fn record(platform: &Platform, needs: Needs, seen: &Seen, response: Response) -> Response {
    if !seen.is_denial(needs, response.status()) {
        return response;
    }
    let problem = response.extensions().get::<ProblemBody>();
    let code = problem.and_then(|ProblemBody(body)| body["code"].as_str()).unwrap_or_default().to_owned();
    let place = seen.about.place.get();
    let event = AccessEvent::AccessCommandDenied {
        method: seen.method.to_string(),
        route: seen.route.clone(),
        status: response.status().as_u16(),
        code,
        needs: needs.right().map(|(resource, action)| format!("{resource}:{action}")),
        target: place.map(|place| AccessTarget { kind: place.kind.to_owned(), id: place.id }),
        project_id: place.and_then(|place| place.project_id),
    };
    match platform.commands.access(event, &seen.context(platform)).await {
        Ok(_) => response,
        Err(error) => ApiError::unrecorded(&error).into_response(),
    }
}
