//! `POST /invites/accept` — joins the team of an invite.

use std::sync::Arc;

use axum::extract::State;
use commands::{CommandError, Context, Receipt};
use domain::ids::UserId;
use domain::team::{TeamCommand, TeamError};
use domain::user::User;
use http::StatusCode;
use projections::teams::InviteRow;
use serde::Deserialize;

use crate::auth::token::sha256;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;
use crate::reply::Done;
use crate::teams::show::view;

/// The secret of the mail.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptInvite {
    token: String,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(AcceptInvite { token }): Body<AcceptInvite>,
) -> Result<Done, ApiError> {
    let user_id = caller.user()?;
    platform.throttle.check(caller.ip, "invite", caller.at())?;
    let unknown = || ApiError::new(StatusCode::GONE, "invite_over", "This invite is not valid for you.");
    let user = projections::users::find(&platform.pool, user_id).await?.ok_or_else(ApiError::unauthorized)?;
    let invite = projections::teams::find_invite(&platform.pool, &hex::encode(sha256(&token))).await?;
    // Whoever guesses, or has somebody else's invite, is told the same.
    let Some(invite) = invite.filter(|invite| Some(&invite.email_hash) == user.email_hash.as_ref()) else {
        platform.throttle.failed(caller.ip, "invite", caller.at());
        return Err(unknown());
    };
    let context = caller.context(Some(invite.team_id));
    let receipt = join(&platform, &invite, user_id, invite.email_hash.clone(), &context).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let team = projections::teams::find(&platform.pool, invite.team_id).await?;
        Ok(view(&team.ok_or_else(ApiError::not_found)?))
    })
    .await
}

/// Makes the user a member.
pub(crate) async fn join(
    platform: &Platform,
    invite: &InviteRow,
    user_id: UserId,
    email_hash: String,
    context: &Context,
) -> Result<Receipt, ApiError> {
    // Whoever invited is asked about as he is now: what he may in the team is the team's to know, that he is gone is not.
    let inviter = platform.commands.load::<User>(invite.invited_by).await?;
    if inviter.aggregate.is_disabled() {
        return Err(CommandError::Refused(TeamError::InviterLostRight).into());
    }
    let (invite_id, token_hash) = (invite.id, invite.token_hash.clone());
    let command = TeamCommand::AcceptInvite { invite_id, user_id, email_hash, token_hash, at: context.at };
    Ok(platform.commands.team(invite.team_id, command, context).await?)
}
