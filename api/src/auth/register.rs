//! `POST /auth/register` — somebody who was invited and has no account makes one, and joins.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use commands::{Context, Mode};
use domain::access::SignInFailure;
use domain::ids::UserId;
use domain::sealed::purpose;
use domain::values::{Email, PersonName};
use http::StatusCode;
use serde::Deserialize;

use crate::auth::failure::{self, Account};
use crate::auth::setup::{NewUser, register, rehearse};
use crate::auth::token::sha256;
use crate::auth::{login, password};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;
use crate::shape;
use crate::teams::invites::accept;

/// A new account of somebody who was invited.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Register {
    invite_token: String,
    #[schema(value_type = shape::Email)]
    email: Email,
    password: String,
    #[schema(value_type = shape::PersonName)]
    first_name: PersonName,
    #[schema(value_type = shape::PersonName)]
    last_name: PersonName,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(body): Body<Register>,
) -> Result<Response, ApiError> {
    password::check("password", &body.password)?;
    platform.throttle.check(caller.ip, "register", caller.at())?;
    let token_hash = hex::encode(sha256(&body.invite_token));
    let invite = projections::teams::find_invite(&platform.pool, &token_hash).await?;
    let hash = platform.commands.vault().fingerprint(purpose::EMAIL_HASH, &body.email.comparable()).await?;
    let open = |invite: &projections::teams::InviteRow| {
        invite.email_hash == hash && invite.status == "pending" && invite.expires_at > caller.at()
    };
    let Some(invite) = invite.filter(open) else {
        platform.throttle.failed(caller.ip, "register", caller.at());
        let whose = Account::Unknown(hash);
        failure::record(&platform, &caller, whose, SignInFailure::WrongInvite).await?;
        return Err(ApiError::new(
            StatusCode::GONE,
            "invite_over",
            "This invite is not valid for this address.",
        ));
    };
    let id: UserId = platform.new_id();
    let new = NewUser {
        email: body.email,
        password: body.password,
        first_name: body.first_name,
        last_name: body.last_name,
    };
    let context = Context { key: None, team_id: Some(invite.team_id), ..caller.context_as(id) };
    // Asked before anything is stored, so that nobody is registered whom the team then refuses.
    let rehearsal = Context { mode: Mode::DryRun, ..context.clone() };
    let joining = match accept::join(&platform, &invite, id, hash.clone(), &rehearsal).await {
        Ok(_) => vec![],
        Err(ApiError::DryRun(events)) => events,
        Err(refused) => return Err(refused),
    };
    if caller.is_dry_run() {
        let mut shown = rehearse(&platform, id, &new, &caller.context_as(id)).await?;
        shown.splice(1..1, joining);
        return Err(ApiError::DryRun(shown));
    }
    let receipt = register(&platform, id, new, &caller.context_as(id)).await?;
    platform.caught_up(&receipt).await;
    accept::join(&platform, &invite, id, hash, &context).await?;
    login::begin(&platform, &caller, id, StatusCode::CREATED).await
}
