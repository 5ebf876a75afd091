//! `POST /api/v1/invites/accept`: joins the team that one was invited to.

use std::sync::Arc;

use axum::extract::State;
use commands::Context;
use domain::ids::TeamId;
use domain::team::{MemberRole, TeamCommand};
use serde::{Deserialize, Serialize};

use super::find_open;
use crate::body::{Body, SecretText};
use crate::caller::Caller;
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::reply::Reply;

/// The secret in the invite's mail.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Accept {
    #[schema(value_type = String)]
    token: SecretText,
}

/// A membership of one's own.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Joined {
    #[schema(value_type = Uuid)]
    team_id: TeamId,
    #[schema(value_type = String)]
    role: MemberRole,
}

#[utoipa::path(post, path = "/api/v1/invites/accept", operation_id = "acceptInvite", tag = "invites",
    request_body = Accept, responses((status = 200, body = Joined)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Accept { token: SecretText(token) }): Body<Accept>,
) -> Result<Reply<Joined>, ApiError> {
    let user_id = caller.person()?;
    let invite = find_open(&platform, &token, caller.at()).await?;
    let user = projections::users::find(&platform.pool, user_id).await?.ok_or_else(Problem::not_found)?;
    let (team_id, at) = (invite.team_id, caller.at());
    let command =
        TeamCommand::AcceptInvite { invite_id: invite.id, user_id, email_hash: user.email_hash, at };
    let context = Context { team_id: Some(team_id), ..caller.context() };
    let receipt = platform.commands.team(team_id, command, &context).await?;
    Ok(Reply::done(platform.settled(receipt).await, Joined { team_id, role: invite.role }))
}
