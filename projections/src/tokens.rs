//! API tokens of people and projects, found by their hash.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{ProjectId, TokenId, UserId};
use domain::project::{ProjectEvent, TokenScope};
use domain::user::UserEvent;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use crate::feed::Consumer;
use crate::row::Columns;

/// One token that was not revoked.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// Whose it is, when it is a person's.
    pub user_id: Option<UserId>,
    /// Which project's it is, when it is a project's.
    pub project_id: Option<ProjectId>,
    /// Its name.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do; a personal token has none of its own.
    pub scopes: Vec<TokenScope>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

const SELECT: &str =
    "SELECT id, user_id, project_id, name, prefix, scopes, expires_at, created_at FROM tokens";

impl FromRow<'_, PgRow> for TokenRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            user_id: row.maybe_id("user_id")?,
            project_id: row.maybe_id("project_id")?,
            name: row.try_get("name")?,
            prefix: row.try_get("prefix")?,
            scopes: row.json("scopes")?,
            expires_at: row.try_get("expires_at")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

/// The token with this SHA-256, in hex.
pub async fn find_by_hash(db: impl PgExecutor<'_>, hash: &str) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE hash = $1")).bind(hash).fetch_optional(db).await
}

/// The tokens of a person, newest first.
pub async fn of_user(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE user_id = $1 ORDER BY id DESC")).bind(user.0).fetch_all(db).await
}

/// The tokens of a project, newest first.
pub async fn of_project(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE project_id = $1 ORDER BY id DESC"))
        .bind(project.0)
        .fetch_all(db)
        .await
}

/// The read model.
pub struct Tokens;

#[async_trait]
impl Consumer for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE tokens (
            id         uuid        PRIMARY KEY,
            user_id    uuid,
            project_id uuid,
            name       text        NOT NULL,
            hash       text        NOT NULL UNIQUE,
            prefix     text        NOT NULL,
            scopes     jsonb       NOT NULL,
            expires_at timestamptz,
            created_at timestamptz NOT NULL
        );
        CREATE INDEX ON tokens (user_id);
        CREATE INDEX ON tokens (project_id);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["tokens"]
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        matches!(recorded.fact, Fact::User(..) | Fact::Project(..))
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let no_scopes = vec![];
        let (user, project, token_id, name, hash, prefix, scopes, expires_at) = match &recorded.fact {
            Fact::User(user, UserEvent::UserTokenCreated { token_id, name, hash, prefix, expires_at }) => {
                (Some(user.0), None, token_id, name, hash, prefix, &no_scopes, expires_at)
            }
            Fact::Project(
                project,
                ProjectEvent::ProjectTokenCreated { token_id, name, hash, prefix, scopes, expires_at },
            ) => (None, Some(project.0), token_id, name, hash, prefix, scopes, expires_at),
            Fact::User(_, UserEvent::UserTokenRevoked { token_id })
            | Fact::Project(_, ProjectEvent::ProjectTokenRevoked { token_id }) => {
                return sqlx::query("DELETE FROM tokens WHERE id = $1")
                    .bind(token_id.0)
                    .execute(db)
                    .await
                    .map(drop);
            }
            Fact::User(id, UserEvent::UserErased { .. }) => {
                return sqlx::query("DELETE FROM tokens WHERE user_id = $1")
                    .bind(id.0)
                    .execute(db)
                    .await
                    .map(drop);
            }
            Fact::Project(id, ProjectEvent::ProjectDeleted { .. }) => {
                return sqlx::query("DELETE FROM tokens WHERE project_id = $1")
                    .bind(id.0)
                    .execute(db)
                    .await
                    .map(drop);
            }
            _ => return Ok(()),
        };
        sqlx::query(
            "INSERT INTO tokens (id, user_id, project_id, name, hash, prefix, scopes, expires_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(token_id.0)
        .bind(user)
        .bind(project)
        .bind(name.as_str())
        .bind(hash)
        .bind(prefix)
        .bind(Json(scopes))
        .bind(expires_at)
        .bind(recorded.at)
        .execute(db)
        .await
        .map(drop)
    }
}
