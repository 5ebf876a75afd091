//! `DELETE /api/v1/teams/{team}`: closes a team; nothing of it runs any more.

use std::sync::Arc;

use axum::extract::State;
use domain::team::TeamCommand;
use projections::teams::TeamRow;

use super::TeamView;
use crate::caller::Scoped;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::reply::Reply;

#[utoipa::path(delete, path = "/api/v1/teams/{team}", operation_id = "deleteTeam", tag = "teams",
    responses((status = 200, body = TeamView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
) -> Result<Reply<TeamView>, ApiError> {
    let receipt = platform.commands.team(team.id, TeamCommand::DeleteTeam, &team.context()).await?;
    Ok(Reply::done(platform.settled(receipt).await, team.into_inner().into()))
}
