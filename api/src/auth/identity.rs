//! The user of an identity that a sign-in provider vouches for; made at its first sign-in.

use commands::{CommandError, Context, Expected, Mode, credentials};
use domain::access::SignInFailure;
use domain::claim::ClaimScope;
use domain::ids::{SecretId, UserId};
use domain::ports::auth::{Auth, Identity};
use domain::sealed::{KeyOwner, purpose};
use domain::user::UserCommand;
use domain::values::Email;
use http::StatusCode;

use crate::auth::failure::{self, Account};
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::{PATIENCE, Platform};

/// The user of this identity. Of several first sign-ins at once one makes him, and all get him.
///
/// An address never leads to an account: who has one of another identity, or of a password, signs in with that.
pub(crate) async fn get_or_create(
    platform: &Platform,
    caller: &Caller,
    provider: &dyn Auth,
    identity: &Identity,
) -> Result<UserId, ApiError> {
    if !provider.admission().admits(identity) {
        let reason = SignInFailure::NotAdmitted;
        failure::record_of(platform, caller, Account::None, provider.id(), reason).await?;
        let detail = "Only people with a verified address of certain domains may come in this way.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "not_admitted", detail));
    }
    if let Some(user) = known(platform, identity).await? {
        return Ok(user);
    }
    let id: UserId = platform.new_id();
    let context = Context { key: None, mode: Mode::Append, expected: Expected::New, ..caller.context_as(id) };
    let (command, email_hash) = registration(platform, id, identity, &context).await?;
    match platform.commands.user(id, command, &context).await {
        Ok(receipt) => {
            platform.caught_up(&receipt).await;
            Ok(id)
        }
        Err(CommandError::NameTaken { scope: ClaimScope::UserIdentity | ClaimScope::UserEmail, .. }) => {
            // Somebody was faster with the same identity; else it is the address that is taken.
            if let Some(user) = known(platform, identity).await? {
                return Ok(user);
            }
            let whose = Account::Unknown(email_hash);
            let reason = SignInFailure::AddressTaken;
            failure::record_of(platform, caller, whose, provider.id(), reason).await?;
            let detail = "Another account has your address: sign in the way you did before.";
            Err(ApiError::new(StatusCode::CONFLICT, "email_taken", detail))
        }
        Err(error) => Err(error.into()),
    }
}

/// The user who has this identity already.
pub(crate) async fn known(platform: &Platform, identity: &Identity) -> Result<Option<UserId>, ApiError> {
    let (pool, issuer, subject) = (&platform.pool, &identity.issuer, &identity.subject);
    let mut user = projections::users::find_by_identity(pool, issuer, subject).await?;
    if user.is_none() {
        let Some(id) = credentials::user_of_identity(pool, issuer, subject).await? else { return Ok(None) };
        // A moment ago, maybe by another server.
        platform.feed.wait_for(projections::log::head(pool).await?, PATIENCE).await;
        user = projections::users::find(pool, id).await?;
        if user.is_none() {
            return Ok(Some(id));
        }
    }
    match user {
        Some(user) if user.disabled => {
            let detail = "Your account at the sign-in provider is gone, and this one with it.";
            Err(ApiError::new(StatusCode::FORBIDDEN, "account_disabled", detail))
        }
        user => Ok(user.map(|user| user.id)),
    }
}

/// The command that makes a user, and the keyed hash of his address; empty when he has none.
pub(crate) async fn registration(
    platform: &Platform,
    id: UserId,
    identity: &Identity,
    context: &Context,
) -> Result<(UserCommand, String), ApiError> {
    let vault = platform.commands.vault();
    let seal = async |purpose: &str, text: &str| {
        let sealing: SecretId = platform.new_id();
        vault.seal_for(context, KeyOwner::User(id), purpose, sealing, text.as_bytes()).await
    };
    let email = identity.email.as_ref();
    let email_hash = match email {
        Some(email) => vault.fingerprint(purpose::EMAIL_HASH, &email.comparable()).await?,
        None => String::new(),
    };
    let command = UserCommand::RegisterUser {
        provider: identity.issuer.clone(),
        subject: identity.subject.clone(),
        email_hash: email_hash.clone(),
        email: seal(purpose::USER_EMAIL, email.map_or("", Email::as_str)).await?,
        first_name: seal(purpose::USER_FIRST_NAME, &identity.first_name).await?,
        last_name: seal(purpose::USER_LAST_NAME, &identity.last_name).await?,
    };
    Ok((command, email_hash))
}
