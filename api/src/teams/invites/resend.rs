//! `POST /teams/{team}/invites/{invite}/resend` — sends an invite once more, with another secret.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::InviteId;
use domain::policy::BuiltinRole;
use domain::sealed::{KeyOwner, purpose};
use domain::team::TeamCommand;
use http::StatusCode;
use projections::teams::TeamRow;

use crate::auth::token::NewToken;
use crate::body::Params;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::teams::invites::create::VALID;
use crate::teams::invites::list;
use crate::teams::members::role_of_caller;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    params: Params,
) -> Result<Done, ApiError> {
    let (context, vault) = (team.context(), platform.commands.vault());
    let invite_id: InviteId = params.id("invite")?;
    let invite = projections::teams::invite(&platform.pool, invite_id).await?;
    let invite = invite.filter(|it| it.team_id == team.it.id).ok_or_else(ApiError::not_found)?;
    let invited_by = team.caller().user()?;
    let by = role_of_caller(&platform, &team).await?;
    team.must_hold(&platform, &BuiltinRole::from(invite.role).permissions()).await?;
    let token = NewToken::invite(context.key.as_ref(), vault).await?;
    let (owner, plain) = (KeyOwner::Invite(invite_id), token.plain.as_bytes());
    let command = TeamCommand::ResendInvite {
        invite_id,
        token_hash: token.hex(),
        token: vault.seal_for(&context, owner, purpose::INVITE_TOKEN, platform.new_id(), plain).await?,
        invited_by,
        by,
        expires_at: context.at + VALID,
    };
    let receipt = platform.commands.team(team.it.id, command, &context).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let row = projections::teams::invite(&platform.pool, invite_id).await?;
        list::view(&platform, &row.unwrap_or(invite), context.at).await
    })
    .await
}
