//! `GET /github/callback` — somebody comes back from GitHub, where he has installed the App for a team.
//!
//! Invariant: nothing is believed of what he brings. The state was given to him, once; that the installation exists is
//! asked of GitHub as the App, and that it is his with the code that GitHub sent along.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use commands::installations;
use domain::ids::{InstallationId, TeamId};
use domain::policy::{self, Action, Resource};
use domain::ports::git_host::{HostError, Installation};
use domain::team::{InstallationStatus, TeamCommand};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::installations::view;
use super::{GITHUB, github, hash};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::{PATIENCE, Platform};
use crate::reply::Done;

/// What GitHub adds to the address.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Back {
    state: Option<String>,
    installation_id: Option<i64>,
    /// `install`, `update` or `request`.
    setup_action: Option<String>,
    code: Option<String>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(back): Query<Back>,
) -> Result<Response, ApiError> {
    let host = github(&platform)?;
    if back.setup_action.as_deref() == Some("request") {
        let detail = "The owners of the account were asked; begin again when they have agreed.";
        return Ok(
            (StatusCode::ACCEPTED, Json(json!({ "status": "requested", "detail": detail }))).into_response()
        );
    }
    let id = back.installation_id.filter(|id| *id > 0);
    let id = id.ok_or_else(|| ApiError::field("installation_id", "required", "is the installation's id"))?;
    let Some(team) = begun(&platform, &caller, back.state.as_deref().unwrap_or_default()).await? else {
        let text = "was not given to you for this, was used before, or is over: begin again";
        return Err(ApiError::field("state", "invalid", text));
    };
    let installation = match host.installation(id, back.code.as_deref()).await {
        Ok(installation) => installation,
        Err(HostError::NotFound(why)) => {
            return Err(ApiError::field("installation_id", "unknown", why));
        }
        Err(HostError::Refused(why)) => {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "not_your_installation", format!("{why}.")));
        }
        Err(error) => return Err(error.into()),
    };
    if host.proves_people() {
        return connect(&platform, &caller, team, &installation).await.map(IntoResponse::into_response);
    }
    // Of two teams at the same time one has it, and the other is told.
    let held = installations::hold(&platform.pool, GITHUB, installation.id).await?;
    let connected = connect_first(&platform, &caller, team, &installation).await;
    held.release().await?;
    connected.map(IntoResponse::into_response)
}

/// Connects an installation that no other team has.
async fn connect_first(
    platform: &Platform,
    caller: &Caller,
    team: TeamId,
    installation: &Installation,
) -> Result<Done, ApiError> {
    let head = projections::log::head(&platform.pool).await?;
    if !platform.feed.wait_for(head, PATIENCE).await {
        return Err(ApiError::unavailable());
    }
    let others = projections::teams::installations_at(&platform.pool, installation.id).await?;
    if others.iter().any(|other| other.team_id != team) {
        let detail = "Another team has this installation. The operator can let GitHub say whose it is (docs/github.md).";
        return Err(ApiError::new(StatusCode::CONFLICT, "installation_taken", detail));
    }
    connect(platform, caller, team, installation).await
}

/// The team that this caller has begun to connect, while he may.
async fn begun(platform: &Platform, caller: &Caller, state: &str) -> Result<Option<TeamId>, ApiError> {
    let begun = installations::end(&platform.pool, &hash(state), GITHUB, caller.user()?, caller.at()).await?;
    let Some(team) = begun else { return Ok(None) };
    let grants = caller.grants(platform).await?;
    let place = caller.context_of(team, None);
    let may = policy::allows(&grants, Resource::TeamInstallations, Action::Create, &place);
    Ok(Some(team).filter(|_| may))
}

async fn connect(
    platform: &Platform,
    caller: &Caller,
    team: TeamId,
    installation: &Installation,
) -> Result<Done, ApiError> {
    // One connection of a team with an installation, however often it is made.
    let name = format!("{GITHUB}/{}", installation.id);
    let installation_id = InstallationId(Uuid::new_v5(&team.0, name.as_bytes()));
    let connect = TeamCommand::ConnectInstallation {
        installation_id,
        github_id: installation.id,
        organization: installation.account.clone(),
    };
    platform.commands.team(team, connect, &caller.step(Some(team), 0)).await?;
    let status = match installation.is_suspended {
        true => InstallationStatus::Suspended,
        false => InstallationStatus::Active,
    };
    let change = TeamCommand::ChangeInstallationStatus { installation_id, status };
    let receipt = platform.commands.team(team, change, &caller.step(Some(team), 1)).await?;
    Done::new(platform, StatusCode::OK, receipt, async || {
        let row = projections::teams::installation(&platform.pool, installation_id).await?;
        Ok(view(&row.ok_or_else(ApiError::not_found)?))
    })
    .await
}
