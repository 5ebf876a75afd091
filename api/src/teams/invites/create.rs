//! `POST /teams/{team}/invites` — invites an address.

use std::sync::Arc;

use axum::extract::State;
use chrono::Duration;
use domain::ids::InviteId;
use domain::policy::BuiltinRole;
use domain::sealed::{KeyOwner, purpose};
use domain::team::{MemberRole, TeamCommand};
use domain::values::Email;
use http::StatusCode;
use projections::teams::{InviteRow, TeamRow};
use serde::Deserialize;

use crate::auth::token::NewToken;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;
use crate::teams::invites::list;
use crate::teams::members::role_of_caller;

/// An invite can be accepted for so long.
pub(super) const VALID: Duration = Duration::days(7);

/// Whom to invite.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInvite {
    #[schema(value_type = shape::Email)]
    email: Email,
    #[schema(value_type = shape::MemberRole)]
    role: MemberRole,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(CreateInvite { email, role }): Body<CreateInvite>,
) -> Result<Done, ApiError> {
    let (context, vault) = (team.context(), platform.commands.vault());
    let invited_by = team.caller().user()?;
    let by = role_of_caller(&platform, &team).await?;
    team.must_hold(&platform, &BuiltinRole::from(role).permissions()).await?;
    let token = NewToken::invite(context.key.as_ref(), vault).await?;
    let invite_id: InviteId = platform.new_id();
    let email_hash = vault.fingerprint(purpose::EMAIL_HASH, &email.comparable()).await?;
    let invitee = projections::users::find_by_email_hash(&platform.pool, &email_hash).await?;
    let seal = async |purpose: &str, text: &str| {
        let owner = KeyOwner::Invite(invite_id);
        vault.seal_for(&context, owner, purpose, platform.new_id(), text.as_bytes()).await
    };
    let fresh = InviteRow {
        id: invite_id,
        team_id: team.it.id,
        email: seal(purpose::INVITE_EMAIL, email.as_str()).await?,
        email_hash,
        role,
        token_hash: token.hex(),
        invited_by,
        status: "pending".to_owned(),
        expires_at: context.at + VALID,
        created_at: context.at,
    };
    let command = TeamCommand::InviteMember {
        invite_id,
        email: fresh.email.clone(),
        email_hash: fresh.email_hash.clone(),
        role,
        token_hash: fresh.token_hash.clone(),
        token: seal(purpose::INVITE_TOKEN, &token.plain).await?,
        invited_by,
        by,
        invitee: invitee.map(|user| user.id),
        expires_at: fresh.expires_at,
    };
    let receipt = platform.commands.team(team.it.id, command, &context).await?;
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        // With a repeated key it is the invite of the first time.
        let row = projections::teams::find_invite(&platform.pool, &token.hex()).await?;
        list::view(&platform, &row.unwrap_or(fresh), context.at).await
    })
    .await
}
