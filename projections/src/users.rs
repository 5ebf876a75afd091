//! People who can sign in. Names and addresses stay sealed here; who shows them opens them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{ProjectId, TeamId, UserId};
use domain::sealed::Sealed;
use domain::user::UserEvent;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};
use uuid::Uuid;

use crate::feed::Consumer;
use crate::parked::Grain;
use crate::row::Columns;

/// One person.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// Its id.
    pub id: UserId,
    /// Who vouches: `local`, or the URL of the issuer.
    pub provider: String,
    /// Id there.
    pub subject: String,
    /// Address.
    pub email: Sealed,
    /// Keyed hash of the address; none of who has none, or was erased.
    pub email_hash: Option<String>,
    /// First name.
    pub first_name: Sealed,
    /// Last name.
    pub last_name: Sealed,
    /// Address of a picture.
    pub photo_url: Option<Sealed>,
    /// The team it looks at.
    pub active_team_id: Option<TeamId>,
    /// The project it looks at.
    pub active_project_id: Option<ProjectId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Number of its last event, for `ETag`.
    pub version: i64,
}

const SELECT: &str = "SELECT id, provider, subject, email, email_hash, first_name, last_name, photo_url, \
    active_team_id, active_project_id, created_at, updated_at, version FROM users";

impl FromRow<'_, PgRow> for UserRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            provider: row.try_get("provider")?,
            subject: row.try_get("subject")?,
            email: row.json("email")?,
            email_hash: row.try_get("email_hash")?,
            first_name: row.json("first_name")?,
            last_name: row.json("last_name")?,
            photo_url: row.maybe_json("photo_url")?,
            active_team_id: row.maybe_id("active_team_id")?,
            active_project_id: row.maybe_id("active_project_id")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            version: row.try_get("version")?,
        })
    }
}

/// The user with this id.
pub async fn find(db: impl PgExecutor<'_>, id: UserId) -> sqlx::Result<Option<UserRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The users with these ids, in no order; unknown ids are left out.
pub async fn find_all(db: impl PgExecutor<'_>, ids: &[UserId]) -> sqlx::Result<Vec<UserRow>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as(&format!("{SELECT} WHERE id = ANY($1)")).bind(ids).fetch_all(db).await
}

/// The user with this address, by the keyed hash of it.
pub async fn find_by_email_hash(db: impl PgExecutor<'_>, hash: &str) -> sqlx::Result<Option<UserRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE email_hash = $1")).bind(hash).fetch_optional(db).await
}

/// The user of this identity, as soon as the query tables know him.
pub async fn find_by_identity(
    db: impl PgExecutor<'_>,
    provider: &str,
    subject: &str,
) -> sqlx::Result<Option<UserRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE provider = $1 AND subject = $2"))
        .bind(provider)
        .bind(subject)
        .fetch_optional(db)
        .await
}

/// Whether there is any user yet.
pub async fn any(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM users)").fetch_one(db).await
}

/// The read model.
pub struct Users;

#[async_trait]
impl Consumer for Users {
    fn name(&self) -> &'static str {
        "users"
    }

    fn version(&self) -> i32 {
        2
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE users (
            id                uuid        PRIMARY KEY,
            provider          text        NOT NULL,
            subject           text        NOT NULL,
            email             jsonb       NOT NULL,
            email_hash        text        UNIQUE,
            first_name        jsonb       NOT NULL,
            last_name         jsonb       NOT NULL,
            photo_url         jsonb,
            active_team_id    uuid,
            active_project_id uuid,
            created_at        timestamptz NOT NULL,
            updated_at        timestamptz NOT NULL,
            version           bigint      NOT NULL,
            UNIQUE (provider, subject)
        );"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["users"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::User(..))
    }

    fn grain(&self) -> Grain {
        Grain::Stream
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Fact::User(id, event) = &recorded.fact else { return Ok(()) };
        let query = match event {
            UserEvent::UserRegistered { provider, subject, email, email_hash, first_name, last_name } => {
                sqlx::query(
                    "INSERT INTO users (version, updated_at, created_at, id, provider, subject, email, email_hash,
                                        first_name, last_name)
                     VALUES ($2, $3, $3, $1, $4, $5, $6, $7, $8, $9)",
                )
                .bind(id.0)
                .bind(recorded.sequence)
                .bind(recorded.at)
                .bind(provider)
                .bind(subject)
                .bind(Json(email))
                .bind(Some(email_hash).filter(|hash| !hash.is_empty()))
                .bind(Json(first_name))
                .bind(Json(last_name))
            }
            UserEvent::UserProfileChanged { first_name, last_name, photo_url } => sqlx::query(
                "UPDATE users SET version = $2, updated_at = $3, first_name = coalesce($4, first_name),
                        last_name = coalesce($5, last_name), photo_url = coalesce($6, photo_url)
                  WHERE id = $1",
            )
            .bind(id.0)
            .bind(recorded.sequence)
            .bind(recorded.at)
            .bind(first_name.as_ref().map(Json))
            .bind(last_name.as_ref().map(Json))
            .bind(photo_url.as_ref().map(Json)),
            UserEvent::UserActiveTeamSwitched { team_id } => sqlx::query(
                "UPDATE users SET version = $2, updated_at = $3, active_team_id = $4 WHERE id = $1",
            )
            .bind(id.0)
            .bind(recorded.sequence)
            .bind(recorded.at)
            .bind(team_id.map(|id| id.0)),
            UserEvent::UserActiveProjectSwitched { project_id } => sqlx::query(
                "UPDATE users SET version = $2, updated_at = $3, active_project_id = $4 WHERE id = $1",
            )
            .bind(id.0)
            .bind(recorded.sequence)
            .bind(recorded.at)
            .bind(project_id.map(|id| id.0)),
            // Address and identity are free for somebody else; the rest is ciphertext without a key.
            UserEvent::UserErased { .. } => sqlx::query(
                "UPDATE users SET version = $2, updated_at = $3, email_hash = NULL, subject = 'erased:' || id,
                        active_team_id = NULL, active_project_id = NULL
                  WHERE id = $1",
            )
            .bind(id.0)
            .bind(recorded.sequence)
            .bind(recorded.at),
            UserEvent::UserPasswordChanged {}
            | UserEvent::UserSecondFactorEnabled {}
            | UserEvent::UserSecondFactorDisabled {}
            | UserEvent::UserRecoveryCodeUsed { .. }
            | UserEvent::UserSignedIn { .. }
            | UserEvent::UserSignedOut { .. }
            | UserEvent::UserTokenCreated { .. }
            | UserEvent::UserTokenRevoked { .. } => {
                sqlx::query("UPDATE users SET version = $2 WHERE id = $1").bind(id.0).bind(recorded.sequence)
            }
        };
        query.execute(db).await.map(drop)
    }
}
