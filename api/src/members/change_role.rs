//! `PATCH /api/v1/teams/{team}/members/{user}`: another role for a member.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::{TeamId, UserId};
use domain::policy::BuiltinRole;
use domain::team::{MemberRole, TeamCommand};
use projections::teams::{MemberRow, TeamRow};
use serde::Deserialize;

use super::{MemberView, find, own_role, views};
use crate::body::Body;
use crate::caller::{Scoped, Tenant};
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::query::Last;
use crate::reply::Reply;

/// The new role.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Change {
    /// `owner`, `admin`, `developer` (or `member`) or `viewer`.
    #[schema(value_type = String)]
    role: MemberRole,
}

#[utoipa::path(patch, path = "/api/v1/teams/{team}/members/{user}", operation_id = "changeMemberRole",
    tag = "members", request_body = Change, responses((status = 200, body = MemberView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Last(user_id): Last<UserId>,
    Body(Change { role }): Body<Change>,
) -> Result<Reply<MemberView>, ApiError> {
    let team_id: TeamId = team.id;
    let known = find(&platform, team_id, user_id).await?.ok_or_else(Problem::not_found)?;
    team.caller().must_hold(&BuiltinRole::from(role).permissions(), &team.place())?;
    let by = own_role(&platform, team.caller(), team_id).await?;
    let command = TeamCommand::ChangeMemberRole { user_id, role, by };
    let receipt = platform.commands.team(team_id, command, &team.context()).await?;
    let settled = platform.settled(receipt).await;
    let member = MemberRow { role, ..known };
    let view = views(&platform, vec![member]).await?.pop().ok_or_else(Problem::not_found)?;
    Ok(Reply::done(settled, view))
}
