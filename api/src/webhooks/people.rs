//! People whom a sign-in provider keeps.

use commands::{CommandError, Expected, credentials};
use domain::claim::ClaimScope;
use domain::ids::{SecretId, UserId};
use domain::ports::auth::Identity;
use domain::sealed::{KeyOwner, Sealed, purpose};
use domain::user::{User, UserCommand, UserError};

use super::{Desk, Done};
use crate::auth::identity::registration;
use crate::error::ApiError;

impl Desk<'_> {
    /// The user of a subject of this provider. Asks the names that the log's own transactions take: it is never late.
    pub(super) async fn user_of(&self, subject: &str) -> Result<Option<UserId>, ApiError> {
        Ok(credentials::user_of_identity(&self.platform.pool, self.provider.issuer(), subject).await?)
    }

    pub(super) async fn person(&self, identity: &Identity) -> Result<Done, ApiError> {
        if let Some(user) = self.user_of(&identity.subject).await? {
            return self.rename(user, identity).await;
        }
        if !self.provider.admission().admits(identity) {
            return Ok(Done::Nothing("not_admitted"));
        }
        let id: UserId = self.platform.new_id();
        let context = commands::Context { expected: Expected::New, ..self.context(None) };
        let (command, _) = registration(self.platform, id, identity, &context).await?;
        match self.platform.commands.user(id, command, &context).await {
            Ok(_) => Ok(Done::Changed),
            // He has come in himself meanwhile.
            Err(CommandError::NameTaken { scope: ClaimScope::UserIdentity, .. }) => {
                Ok(Done::Nothing("known"))
            }
            // He is told when he signs in, and so is who has the address.
            Err(CommandError::NameTaken { scope: ClaimScope::UserEmail, .. }) => {
                Ok(Done::Nothing("address_taken"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An address is not taken over: it counts once, when somebody is registered.
    async fn rename(&self, user: UserId, identity: &Identity) -> Result<Done, ApiError> {
        let context = self.context(None);
        let command = UserCommand::ChangeUserProfile {
            first_name: self.sealed(user, purpose::USER_FIRST_NAME, &identity.first_name).await?,
            last_name: self.sealed(user, purpose::USER_LAST_NAME, &identity.last_name).await?,
            photo_url: None,
        };
        let before = self.platform.commands.load::<User>(user).await?.version;
        match self.platform.commands.user(user, command, &context).await {
            Ok(receipt) if receipt.version > before => Ok(Done::Changed),
            Ok(_) => Ok(Done::Nothing("known")),
            Err(CommandError::Refused(UserError::Disabled | UserError::Unknown)) => Ok(Done::Nothing("gone")),
            Err(error) => Err(error.into()),
        }
    }

    /// A name that the provider does not know is none that it takes away.
    async fn sealed(&self, user: UserId, purpose: &str, name: &str) -> Result<Option<Sealed>, ApiError> {
        if name.is_empty() {
            return Ok(None);
        }
        let (vault, sealing): (_, SecretId) = (self.platform.commands.vault(), self.platform.new_id());
        let context = self.context(None);
        let sealed = vault.seal_for(&context, KeyOwner::User(user), purpose, sealing, name.as_bytes()).await;
        match sealed {
            // Of somebody who was erased nothing is kept any more.
            Err(commands::VaultError::Erased) => Ok(None),
            sealed => Ok(Some(sealed?)),
        }
    }

    pub(super) async fn person_gone(&self, subject: &str) -> Result<Done, ApiError> {
        let Some(user) = self.user_of(subject).await? else { return Ok(Done::Nothing("unknown")) };
        match self.platform.commands.user(user, UserCommand::DisableUser, &self.context(None)).await {
            Ok(_) => {}
            Err(CommandError::Refused(UserError::Unknown)) => return Ok(Done::Nothing("gone")),
            Err(error) => return Err(error.into()),
        }
        for team in projections::teams::memberships(&self.platform.pool, user).await? {
            self.remove(team, user).await?;
        }
        // The log has ended them; so that nobody finds one of them any more.
        for session in self.platform.sessions.of_user(user, self.caller.at()).await? {
            self.platform.sessions.end(user, session.id).await?;
        }
        Ok(Done::Changed)
    }
}
