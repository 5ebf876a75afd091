//! `POST /api/v1/auth/register`: somebody who was invited makes an account and joins the team.

use std::sync::Arc;

use axum::extract::State;
use commands::{CommandError, Context, Mode};
use domain::envelope::Actor;
use domain::ids::UserId;
use domain::team::TeamCommand;
use domain::values::{Email, PersonName};
use serde::Deserialize;

use super::account::{NewUser, register};
use crate::body::{Body, SecretText};
use crate::caller::Facts;
use crate::error::{ApiError, Problem};
use crate::invites::find_open;
use crate::passwords;
use crate::people::UserView;
use crate::platform::Platform;
use crate::reply::Reply;

/// A new user.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Register {
    /// The secret in the invite's mail.
    #[schema(value_type = String)]
    invite_token: SecretText,
    /// The address that was invited.
    #[schema(value_type = String)]
    email: Email,
    #[schema(value_type = String, min_length = 10)]
    password: SecretText,
    #[schema(value_type = String)]
    first_name: PersonName,
    #[schema(value_type = String)]
    last_name: PersonName,
}

#[utoipa::path(post, path = "/api/v1/auth/register", operation_id = "register", tag = "auth",
    request_body = Register, responses((status = 201, body = UserView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    facts: Facts,
    Body(body): Body<Register>,
) -> Result<Reply<UserView>, ApiError> {
    let Register { invite_token, email, password: SecretText(password), first_name, last_name } = body;
    let invite = find_open(&platform, &invite_token.0, facts.at).await?;
    let email_hash = platform.email_hash(&email).await?;
    if email_hash != invite.email_hash {
        return Err(Problem::invalid("email", "other_address", "must be the address that was invited").into());
    }
    passwords::check(&password, email.as_str(), "password")?;
    let id = UserId((platform.new_id)());
    let context = facts.context(Actor::User(id), None, None);
    let accept = TeamCommand::AcceptInvite { invite_id: invite.id, user_id: id, email_hash, at: facts.at };
    let in_team = Context { team_id: Some(invite.team_id), ..context.clone() };
    // Asked before anything is stored, so that nobody is registered whom the team then refuses.
    let rehearsal = Context { mode: Mode::DryRun, ..in_team.clone() };
    match platform.commands.team(invite.team_id, accept.clone(), &rehearsal).await {
        Ok(_) | Err(CommandError::DryRun(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let user = NewUser { email, password, first_name, last_name };
    let (view, _) = register(&platform, id, user, &context).await?;
    let receipt = platform.commands.team(invite.team_id, accept, &in_team).await?;
    Ok(Reply::created(platform.settled(receipt).await, view))
}
