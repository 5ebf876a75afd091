//! Failed sign-ins are recorded before they are told.

use commands::{Context, StoreError, VaultError};
use domain::access::{AccessEvent, SignInFailure};
use domain::envelope::Actor;
use domain::ids::UserId;

use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;

/// Whose account somebody wanted to use.
pub(crate) enum Account {
    /// This user's.
    Of(UserId),
    /// One that nobody has: the keyed hash of its address.
    Unknown(String),
    /// None in particular.
    None,
}

/// The same of e-mail and password.
pub(crate) async fn record(
    platform: &Platform,
    caller: &Caller,
    account: Account,
    reason: SignInFailure,
) -> Result<(), ApiError> {
    record_of(platform, caller, account, "local", reason).await
}

/// Records it, or fails with 503. What tells where from is sealed under the key of whose account it is, so that it
/// goes when that person is erased.
pub(crate) async fn record_of(
    platform: &Platform,
    caller: &Caller,
    account: Account,
    provider: &str,
    reason: SignInFailure,
) -> Result<(), ApiError> {
    let (user_id, email_hash) = match account {
        Account::Of(user) => (Some(user), None),
        Account::Unknown(hash) => (None, Some(hash)),
        Account::None => (None, None),
    };
    let event =
        AccessEvent::AccessSignInFailed { provider: provider.to_owned(), reason, user_id, email_hash };
    let context = caller.context(None);
    let claims_to_be = user_id.filter(|_| context.actor == Actor::Anonymous).map(Actor::User);
    let context =
        Context { key: None, on_behalf_of: context.on_behalf_of.clone().or(claims_to_be), ..context };
    let mut recorded = platform.commands.access(event.clone(), &context).await;
    if let Err(StoreError::Vault(VaultError::Erased)) = recorded {
        // Of somebody who was erased: nothing is sealed under that key any more.
        recorded = platform.commands.access(event, &Context { on_behalf_of: None, ..context }).await;
    }
    recorded.map(drop).map_err(|error| ApiError::unrecorded(&error))
}
