//! Makes users with a password.

use commands::{CommandError, Context, Mode, Receipt, credentials};
use domain::ids::UserId;
use domain::sealed::{KeyOwner, purpose};
use domain::secret::Secret;
use domain::user::UserCommand;
use domain::values::{Email, PersonName};

use crate::error::ApiError;
use crate::people::UserView;
use crate::platform::Platform;

/// Who vouches for people that sign in with a password: this installation.
pub(crate) const LOCAL: &str = "local";

/// Somebody who is no user yet. The password was checked.
#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) email: Email,
    pub(crate) password: Secret,
    pub(crate) first_name: PersonName,
    pub(crate) last_name: PersonName,
}

/// Makes the user. The password is stored first: were it the other way round, a crash in between would leave
/// somebody who can never sign in, and whose address is taken.
pub(crate) async fn register(
    platform: &Platform,
    id: UserId,
    user: NewUser,
    context: &Context,
) -> Result<(UserView, Receipt), ApiError> {
    let owner = KeyOwner::User(id);
    let command = UserCommand::RegisterUser {
        provider: LOCAL.to_owned(),
        subject: id.to_string(),
        email: platform.seal(owner, purpose::USER_EMAIL, user.email.as_str()).await?,
        email_hash: platform.email_hash(&user.email).await?,
        first_name: platform.seal(owner, purpose::USER_FIRST_NAME, user.first_name.as_str()).await?,
        last_name: platform.seal(owner, purpose::USER_LAST_NAME, user.last_name.as_str()).await?,
    };
    if context.mode == Mode::Append {
        let hash = platform.passwords.hash(user.password).await?;
        credentials::put(&platform.pool, id, &hash, context.at).await?;
    }
    let answer = platform.commands.user(id, command, context).await;
    // Only where it is certain that nobody was made: after a lost connection nobody knows.
    if matches!(answer, Err(CommandError::Refused(_) | CommandError::NameTaken { .. })) {
        credentials::forget(&platform.pool, id).await?;
    }
    let receipt = answer?;
    let view = UserView {
        id,
        email: user.email.into(),
        first_name: user.first_name.into(),
        last_name: user.last_name.into(),
        photo_url: None,
        active_team_id: None,
        active_project_id: None,
        created_at: context.at,
        updated_at: context.at,
    };
    Ok((view, receipt))
}
