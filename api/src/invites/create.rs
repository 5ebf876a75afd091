//! `POST /api/v1/teams/{team}/invites`: invites an address. A process sends the mail with the secret.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::InviteId;
use domain::policy::BuiltinRole;
use domain::sealed::{KeyOwner, purpose};
use domain::team::{MemberRole, TeamCommand};
use domain::values::Email;
use projections::teams::{self, InviteRow, TeamRow};
use serde::Deserialize;

use super::{InviteView, PENDING, view};
use crate::body::Body;
use crate::caller::{Scoped, Tenant};
use crate::error::ApiError;
use crate::members::own_role;
use crate::platform::Platform;
use crate::reply::Reply;
use crate::secret_token::{Kind, SecretToken};

/// Who is invited.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Create {
    #[schema(value_type = String)]
    email: Email,
    /// `owner`, `admin`, `developer` (or `member`) or `viewer`.
    #[schema(value_type = String)]
    role: MemberRole,
}

#[utoipa::path(post, path = "/api/v1/teams/{team}/invites", operation_id = "invite", tag = "invites",
    request_body = Create, responses((status = 201, body = InviteView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(Create { email, role }): Body<Create>,
) -> Result<Reply<InviteView>, ApiError> {
    let caller = team.caller();
    let invited_by = caller.person()?;
    caller.must_hold(&BuiltinRole::from(role).permissions(), &team.place())?;
    let context = team.context();
    let token = SecretToken::once(Kind::Invite, context.key.as_ref(), platform.commands.vault()).await?;
    let id = InviteId((platform.new_id)());
    let email_hash = platform.email_hash(&email).await?;
    let invitee = projections::users::find_by_email_hash(&platform.pool, &email_hash).await?;
    let fresh = InviteRow {
        id,
        team_id: team.id,
        email: platform.seal(KeyOwner::Invite(id), purpose::INVITE_EMAIL, email.as_str()).await?,
        email_hash,
        role,
        invited_by,
        status: PENDING.to_owned(),
        expires_at: context.at + platform.settings.invite_lifetime,
        created_at: context.at,
    };
    let command = TeamCommand::InviteMember {
        invite_id: id,
        email: fresh.email.clone(),
        email_hash: fresh.email_hash.clone(),
        role,
        token_hash: token.hash_hex(),
        token: platform.seal(KeyOwner::Invite(id), purpose::INVITE_TOKEN, token.expose()).await?,
        invited_by,
        by: own_role(&platform, caller, team.id).await?,
        invitee: invitee.map(|user| user.id),
        expires_at: fresh.expires_at,
    };
    let settled = platform.settled(platform.commands.team(team.id, command, &context).await?).await;
    // A repeated command has made nothing: the invite is that of the first time.
    let row = teams::find_invite(&platform.pool, &token.hash_hex()).await?.unwrap_or(fresh);
    Ok(Reply::created(settled, view(&platform, row).await?))
}
