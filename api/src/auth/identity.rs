//! The user of an identity that a sign-in provider vouches for; made at its first sign-in.

use commands::told::is_gone;
use commands::{CommandError, Context, Expected, Mode, credentials};
use domain::access::SignInFailure;
use domain::claim::ClaimScope;
use domain::ids::{SecretId, UserId};
use domain::ports::auth::{Auth, Identity};
use domain::sealed::{KeyOwner, purpose};
use domain::user::{User, UserCommand};
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
    match known(platform, identity).await? {
        Some(Known { user, disabled: false }) => return Ok(user),
        Some(Known { user, .. }) => return Err(gone(platform, caller, provider, Account::Of(user)).await),
        None => {}
    }
    let object = format!("user/{}", identity.subject);
    let is_gone =
        async || is_gone(&platform.pool, provider.issuer(), &object).await.map(|gone| gone == Some(true));
    if is_gone().await? {
        return Err(gone(platform, caller, provider, Account::None).await);
    }
    let id: UserId = platform.new_id();
    let context = Context { key: None, mode: Mode::Append, expected: Expected::New, ..caller.context_as(id) };
    let (command, email_hash) = registration(platform, id, identity, &context).await?;
    match platform.commands.user(id, command, &context).await {
        // The provider may have told meanwhile, and nobody was there to be disabled.
        Ok(_) if is_gone().await? => {
            platform
                .commands
                .user(id, UserCommand::DisableUser, &Context { key: None, ..caller.context_as(id) })
                .await?;
            Err(gone(platform, caller, provider, Account::Of(id)).await)
        }
        Ok(receipt) => {
            platform.caught_up(&receipt).await;
            Ok(id)
        }
        Err(CommandError::NameTaken { scope: ClaimScope::UserIdentity | ClaimScope::UserEmail, .. }) => {
            // Somebody was faster with the same identity; else it is the address that is taken.
            if let Some(Known { user, disabled: false }) = known(platform, identity).await? {
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

/// Refuses who is gone at the provider.
async fn gone(platform: &Platform, caller: &Caller, provider: &dyn Auth, whose: Account) -> ApiError {
    match failure::record_of(platform, caller, whose, provider.id(), SignInFailure::Disabled).await {
        Ok(()) => {
            let detail = "Your account at the sign-in provider is gone, and this one with it.";
            ApiError::new(StatusCode::FORBIDDEN, "account_disabled", detail)
        }
        Err(unrecorded) => unrecorded,
    }
}

/// A user who has an identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) user: UserId,
    /// Whether the account at the provider is gone.
    pub(crate) disabled: bool,
}

/// The user who has this identity already.
pub(crate) async fn known(platform: &Platform, identity: &Identity) -> Result<Option<Known>, ApiError> {
    let (pool, issuer, subject) = (&platform.pool, &identity.issuer, &identity.subject);
    if let Some(row) = projections::users::find_by_identity(pool, issuer, subject).await? {
        return Ok(Some(Known { user: row.id, disabled: row.disabled }));
    }
    let Some(user) = credentials::user_of_identity(pool, issuer, subject).await? else { return Ok(None) };
    // Made a moment ago, maybe by another server.
    platform.feed.wait_for(projections::log::head(pool).await?, PATIENCE).await;
    let disabled = platform.commands.load::<User>(user).await?.aggregate.is_disabled();
    Ok(Some(Known { user, disabled }))
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
