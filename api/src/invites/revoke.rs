//! `DELETE /api/v1/teams/{team}/invites/{invite}`: takes an invite back.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::InviteId;
use domain::team::TeamCommand;
use projections::teams::{self, TeamRow};

use super::{InviteView, view};
use crate::caller::Scoped;
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::query::Last;
use crate::reply::Reply;

#[utoipa::path(delete, path = "/api/v1/teams/{team}/invites/{invite}", operation_id = "revokeInvite",
    tag = "invites", responses((status = 200, body = InviteView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Last(invite_id): Last<InviteId>,
) -> Result<Reply<InviteView>, ApiError> {
    let command = TeamCommand::RevokeInvite { invite_id };
    let receipt = platform.commands.team(team.id, command, &team.context()).await?;
    let settled = platform.settled(receipt).await;
    let all = teams::invites(&platform.pool, team.id).await?;
    let row = all.into_iter().find(|row| row.id == invite_id).ok_or_else(Problem::not_found)?;
    Ok(Reply::done(settled, view(&platform, row).await?))
}
