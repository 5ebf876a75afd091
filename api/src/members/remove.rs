//! `DELETE /api/v1/teams/{team}/members/{user}`: ends a membership; everybody may end his own.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::UserId;
use domain::team::TeamCommand;
use projections::teams::TeamRow;

use super::{MemberView, find, own_role, views};
use crate::caller::Scoped;
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::query::Last;
use crate::reply::Reply;

#[utoipa::path(delete, path = "/api/v1/teams/{team}/members/{user}", operation_id = "removeMember",
    tag = "members", responses((status = 200, body = MemberView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Last(user_id): Last<UserId>,
) -> Result<Reply<MemberView>, ApiError> {
    let known = find(&platform, team.id, user_id).await?.ok_or_else(Problem::not_found)?;
    let view = views(&platform, vec![known]).await?.pop().ok_or_else(Problem::not_found)?;
    let by = own_role(&platform, team.caller(), team.id).await?;
    let command = TeamCommand::RemoveMember { user_id, by };
    let receipt = platform.commands.team(team.id, command, &team.context()).await?;
    Ok(Reply::done(platform.settled(receipt).await, view))
}
