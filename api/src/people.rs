//! People as they are shown: their personal data opened.

use chrono::{DateTime, Utc};
use commands::{Context, IdempotencyKey, Vault, VaultError};
use domain::ids::{ProjectId, TeamId, UserId};
use domain::sealed::{KeyOwner, Sealed, purpose};
use domain::values::Email;
use projections::users::UserRow;
use serde::Serialize;

use crate::platform::Platform;

/// A person, as shown to himself.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserView {
    #[schema(value_type = Uuid)]
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) photo_url: Option<String>,
    #[schema(value_type = Option<Uuid>)]
    pub(crate) active_team_id: Option<TeamId>,
    #[schema(value_type = Option<Uuid>)]
    pub(crate) active_project_id: Option<ProjectId>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

impl UserView {
    /// Opens what is sealed.
    pub(crate) async fn open(vault: &Vault, row: &UserRow) -> Result<Self, VaultError> {
        let photo_url = match &row.photo_url {
            Some(sealed) => Some(vault.open_text(sealed, purpose::USER_PHOTO_URL).await?),
            None => None,
        };
        Ok(Self {
            id: row.id,
            email: vault.open_text(&row.email, purpose::USER_EMAIL).await?,
            first_name: vault.open_text(&row.first_name, purpose::USER_FIRST_NAME).await?,
            last_name: vault.open_text(&row.last_name, purpose::USER_LAST_NAME).await?,
            // A picture that was taken away is an empty text: the log has no other way to say so.
            photo_url: photo_url.filter(|url| !url.is_empty()),
            active_team_id: row.active_team_id,
            active_project_id: row.active_project_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl Platform {
    /// Seals a value under the key of its owner.
    pub(crate) async fn seal(
        &self,
        owner: KeyOwner,
        purpose: &str,
        text: &str,
    ) -> Result<Sealed, VaultError> {
        let (id, now) = ((self.new_id)().into(), (self.now)());
        self.commands.vault().seal(owner, purpose, id, text.as_bytes(), now).await
    }

    /// The keyed hash under which an address is looked up.
    pub(crate) async fn email_hash(&self, email: &Email) -> Result<String, VaultError> {
        self.commands.vault().fingerprint(purpose::EMAIL_HASH, &email.comparable()).await
    }
}

/// The circumstances of one of several commands of the same request. Each has a key of its own; the version is
/// asked for by the first alone, since the first changes it.
pub(crate) fn step(context: &Context, n: usize) -> Context {
    if n == 0 {
        return context.clone();
    }
    let key = context.key.clone().map(|key| IdempotencyKey { key: format!("{}/{n}", key.key), ..key });
    Context { key, expected_version: None, ..context.clone() }
}
