//! Who sends telemetry: a project's token with the scope `telemetry:write`, which no person holds, or the server of a
//! deployment. The token says which project; a path that names another one leads nowhere.

use std::sync::Arc;
use std::time::Duration;

use axum::RequestPartsExt;
use axum::body::Body;
use axum::extract::FromRequestParts;
use bytes::Bytes;
use domain::ids::{DeploymentId, ProjectId};
use domain::ports::telemetry::Tenant;
use domain::project::TokenScope;
use http::StatusCode;
use http::request::Parts;

use super::denied::Place;
use super::once::{GITHUB, MAX_BODY, MAX_DELIVERY, hash_body};
use super::{Caller, Needs, Principal};
use crate::body::Params;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::push_hooks::PATH;
use crate::telemetry::{Allowance, MAX_SENT, Room};

/// How long a body may take to arrive: it takes up room meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whose telemetry a request brings.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// The token's project.
    pub(crate) tenant: Tenant,
    /// The deployment whose server it is, by its own token.
    pub(crate) deployment: Option<DeploymentId>,
    /// What the request takes up in memory.
    pub(crate) room: Arc<Room>,
    /// What its project may bring.
    pub(crate) allowance: Allowance,
    /// Whether nothing is to be stored.
    pub(crate) dry_run: bool,
    /// Only the gate makes one.
    _gate: (),
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthorized)
    }
}

/// Refuses who may not send.
fn may_send(principal: &Principal) -> Result<(ProjectId, Option<DeploymentId>), ApiError> {
    match principal {
        Principal::ProjectToken { project, scopes, .. } if scopes.contains(&TokenScope::TelemetryWrite) => {
            Ok((*project, None))
        }
        Principal::Deployment { deployment, project } => Ok((*project, Some(*deployment))),
        _ => Err(ApiError::forbidden("This needs a project's token with the scope telemetry:write.")),
    }
}

/// Reads the body and hashes the request. Telemetry and what a git host delivers may be larger than a command, and take
/// up room that is bounded for all senders together; it is free again when the request has gone.
pub(super) async fn read_body(
    platform: &Platform,
    needs: Needs,
    principal: &Principal,
    parts: &mut Parts,
    body: Body,
) -> Result<(Bytes, String), ApiError> {
    let most = match needs {
        Needs::Sender if may_send(principal).is_ok() => MAX_SENT,
        _ if parts.uri.path() == GITHUB || parts.uri.path().starts_with(PATH) => MAX_DELIVERY,
        _ => return hash_body(parts, body, MAX_BODY, None).await,
    };
    let room = platform.intake.room(may_send(principal).ok().map(|(project, _)| project));
    let reading = hash_body(parts, body, most, Some(&room));
    let read = tokio::time::timeout(PATIENCE, reading).await.map_err(|_| too_slow())??;
    parts.extensions.insert(room);
    Ok(read)
}

/// Puts the sender into the request.
pub(super) async fn admit(platform: &Platform, caller: &Caller, parts: &mut Parts) -> Result<(), ApiError> {
    let (id, deployment) = may_send(&caller.principal)?;
    let room = parts.extensions.get::<Arc<Room>>().cloned().ok_or_else(ApiError::unauthorized)?;
    let params: Params = parts.extract().await?;
    let named = params.text("project");
    if !named.is_empty() && named.parse::<ProjectId>().ok() != Some(id) {
        return Err(ApiError::not_found());
    }
    let project = projections::projects::find(&platform.pool, id).await?.ok_or_else(ApiError::not_found)?;
    let place = Place { team_id: project.team_id, project_id: Some(id), kind: "project", id: id.0 };
    let _ = caller.about.place.set(place);
    let _ = caller.about.admitted.set(());
    let tenant = Tenant { team: project.team_id, project: id };
    let is_mastra = parts.uri.path().starts_with("/projects/");
    let allowance = Allowance::of(&project.settings, (platform.now)(), is_mastra);
    let dry_run = caller.is_dry_run();
    parts.extensions.insert(Sender { tenant, deployment, room, allowance, dry_run, _gate: () });
    Ok(())
}

/// A body that does not arrive in time.
fn too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body did not arrive in time.")
}
