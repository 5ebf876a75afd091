//! `DELETE /teams/{team}/invites/{invite}` — takes an invite back.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::InviteId;
use domain::team::TeamCommand;
use http::StatusCode;
use projections::teams::TeamRow;
use serde_json::json;

use crate::body::Params;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    params: Params,
) -> Result<Done, ApiError> {
    let invite_id: InviteId = params.id("invite")?;
    let command = TeamCommand::RevokeInvite { invite_id };
    let receipt = platform.commands.team(team.it.id, command, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        Ok(json!({ "id": invite_id, "status": "revoked" }))
    })
    .await
}
