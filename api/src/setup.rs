//! The first user of an empty system.

use std::fmt;

use commands::{Context, credentials};
use domain::envelope::Actor;
use domain::secret::Secret;
use domain::values::{Email, InvalidValue};
use thiserror::Error;

use crate::auth::account::{NewUser, register};
use crate::error::{ApiError, Problem};
use crate::passwords;
use crate::platform::Platform;
use crate::secret_token::{Kind, SecretToken};

/// How the first user is made: one POST with a token that works once.
#[derive(Clone, Debug)]
pub struct SetupLink {
    /// Where.
    pub url: String,
    /// The token, shown to the operator and kept nowhere.
    pub token: Secret,
}

/// Why the first user could not be made.
#[derive(Debug, Error)]
pub enum SetupError {
    /// What was given as an address is none.
    #[error("the owner's address {0}")]
    Email(#[source] InvalidValue),
    /// The database could not be asked.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The user was refused.
    #[error("the owner cannot be made: {0}")]
    Refused(Box<Problem>),
}

impl fmt::Display for SetupLink {
    /// For the operator's terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.expose_str().unwrap_or_default();
        write!(
            f,
            "POST {} with {{\"setupToken\":\"{token}\",\"email\":…,\"password\":…,\"firstName\":…,\"lastName\":…}}",
            self.url
        )
    }
}

impl Platform {
    /// On an empty system, how the first user is made; `None` when there is one already.
    pub async fn setup_link(&self) -> Result<Option<SetupLink>, SetupError> {
        if credentials::any_user(&self.pool).await? {
            return Ok(None);
        }
        let token = SecretToken::random(Kind::Setup);
        credentials::put_setup_token(&self.pool, &token.hash(), (self.now)()).await?;
        let url = self.settings.public_url.join("/api/v1/auth/setup").expect("a path goes with every base");
        Ok(Some(SetupLink { url: url.to_string(), token: Secret::new(token.expose()) }))
    }

    /// Makes the first user of an empty system; false when there is one already.
    pub async fn create_owner(&self, email: &str, password: Secret) -> Result<bool, SetupError> {
        if credentials::any_user(&self.pool).await? {
            return Ok(false);
        }
        let email: Email = email.parse().map_err(SetupError::Email)?;
        passwords::check(&password, email.as_str(), "password")
            .map_err(|it| SetupError::Refused(Box::new(it)))?;
        let nameless = || "".parse().expect("a name may be empty");
        let user = NewUser { email, password, first_name: nameless(), last_name: nameless() };
        let id = (self.new_id)();
        let context =
            Context::bare(Actor::Operator("setup".to_owned()), (self.new_id)().to_string(), (self.now)());
        match register(self, id.into(), user, &context).await {
            Ok(_) => Ok(true),
            // Another server process was faster.
            Err(ApiError::Problem(problem)) if problem.code() == "name_taken" => Ok(false),
            Err(ApiError::Problem(problem)) => Err(SetupError::Refused(problem)),
            Err(ApiError::DryRun(_)) => unreachable!("nobody asked for a dry run"),
        }
    }
}
