//! `POST /auth/setup` — the first user of an empty installation. Once.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use commands::{CommandError, Context, Preview, Receipt, credentials};
use domain::access::SignInFailure;
use domain::ids::{SecretId, UserId};
use domain::sealed::{KeyOwner, purpose};
use domain::user::UserCommand;
use domain::values::{Email, PersonName};
use http::StatusCode;
use serde::Deserialize;

use crate::auth::failure::{self, Account};
use crate::auth::token::{NewToken, sha256};
use crate::auth::{login, password};
use crate::body::Body;
use crate::dry_run;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;
use crate::shape;

/// The first user.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Setup {
    setup_token: String,
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
    Body(setup): Body<Setup>,
) -> Result<Response, ApiError> {
    let wrong =
        || ApiError::new(StatusCode::FORBIDDEN, "setup_closed", "The setup token is wrong or was used.");
    password::check("password", &setup.password)?;
    platform.throttle.check(caller.ip, "setup", caller.at())?;
    let hash = sha256(&setup.setup_token);
    let open = !credentials::any_user(&platform.pool).await?;
    if !open || !credentials::is_setup_token(&platform.pool, &hash).await? {
        platform.throttle.failed(caller.ip, "setup", caller.at());
        failure::record(&platform, &caller, Account::None, SignInFailure::WrongSetupToken).await?;
        return Err(wrong());
    }
    let id: UserId = platform.new_id();
    let new = NewUser {
        email: setup.email,
        password: setup.password,
        first_name: setup.first_name,
        last_name: setup.last_name,
    };
    if caller.is_dry_run() {
        return Err(ApiError::DryRun(rehearse(&platform, id, &new, &caller.context_as(id)).await?));
    }
    if !credentials::use_setup_token(&platform.pool, &hash).await? {
        return Err(wrong());
    }
    let receipt = register(&platform, id, new, &caller.context_as(id)).await?;
    platform.caught_up(&receipt).await;
    login::begin(&platform, &caller, id, StatusCode::CREATED).await
}

/// Somebody who signs in with e-mail and password.
pub struct NewUser {
    /// Address.
    pub email: Email,
    /// Password in clear.
    pub password: String,
    /// First name.
    pub first_name: PersonName,
    /// Last name.
    pub last_name: PersonName,
}

/// Makes a user with a password. The password is stored first: were it the other way round, a crash in between
/// would leave somebody whose address is taken and who can never sign in.
pub async fn register(
    platform: &Platform,
    id: UserId,
    new: NewUser,
    context: &Context,
) -> Result<Receipt, ApiError> {
    let command = registration(platform, id, &new, context).await?;
    let hash = password::hash(new.password).await?;
    credentials::set_password(&platform.pool, id, &hash, context.at).await?;
    let answer = platform.commands.user(id, command, &context.clone().of_new()).await;
    // Only where it is certain that nobody was made: after a lost connection nobody knows.
    if matches!(answer, Err(CommandError::Refused(_) | CommandError::NameTaken { .. })) {
        credentials::forget_password(&platform.pool, id).await?;
    }
    Ok(answer?)
}

/// What the log would say of a user who is made and signs in.
pub(crate) async fn rehearse(
    platform: &Platform,
    id: UserId,
    new: &NewUser,
    context: &Context,
) -> Result<Vec<Preview>, ApiError> {
    let sign_in = UserCommand::SignIn { session_id: platform.new_id(), provider: "local".to_owned() };
    let commands = vec![registration(platform, id, new, context).await?, sign_in];
    dry_run::rehearse(platform, id, commands, context).await
}

async fn registration(
    platform: &Platform,
    id: UserId,
    new: &NewUser,
    context: &Context,
) -> Result<UserCommand, ApiError> {
    let vault = platform.commands.vault();
    let owner = KeyOwner::User(id);
    let seal = async |purpose: &str, text: &str| {
        let sealing: SecretId = platform.new_id();
        vault.seal_for(context, owner, purpose, sealing, text.as_bytes()).await
    };
    Ok(UserCommand::RegisterUser {
        provider: "local".to_owned(),
        subject: id.to_string(),
        email_hash: vault.fingerprint(purpose::EMAIL_HASH, &new.email.comparable()).await?,
        email: seal(purpose::USER_EMAIL, new.email.as_str()).await?,
        first_name: seal(purpose::USER_FIRST_NAME, new.first_name.as_str()).await?,
        last_name: seal(purpose::USER_LAST_NAME, new.last_name.as_str()).await?,
    })
}

/// Makes a new setup token when there is no user yet; answers it in clear, once.
pub async fn offer(platform: &Platform) -> Result<Option<String>, ApiError> {
    if credentials::any_user(&platform.pool).await? {
        return Ok(None);
    }
    let token = NewToken::setup();
    credentials::set_setup_token(&platform.pool, &token.hash, (platform.now)()).await?;
    Ok(Some(token.plain))
}
