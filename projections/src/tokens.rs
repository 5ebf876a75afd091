//! Personal and project API tokens, found by the hash of what a caller shows.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{ProjectId, TeamId, TokenId, UserId};
use domain::project::{ProjectEvent, TokenScope};
use domain::team::TeamEvent;
use domain::user::UserEvent;
use domain::values::DisplayName;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use crate::feed::Consumer;
use crate::page::{Listed, Page};
use crate::row::Columns;

/// One token.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// For whom it stands.
    pub owner: TokenOwner,
    /// What its owner calls it.
    pub name: DisplayName,
    /// Its first characters.
    pub prefix: String,
    /// What it may do; empty for a personal token, which may do what its owner may.
    pub scopes: Vec<TokenScope>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is refused.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Position of the event that made it: its place in lists.
    pub position: i64,
}

/// For whom a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOwner {
    /// For a person, with all that the person may do.
    User(UserId),
    /// For itself, in one project.
    Project {
        /// The project.
        project_id: ProjectId,
        /// Its team.
        team_id: TeamId,
    },
}

impl TokenRow {
    /// Whether it is accepted at this time.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

const SELECT: &str = "SELECT id, user_id, project_id, team_id, name, prefix, scopes, expires_at, revoked_at, \
    created_at, position FROM tokens";

impl FromRow<'_, PgRow> for TokenRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let owner = match row.maybe_id("user_id")? {
            Some(user_id) => TokenOwner::User(user_id),
            None => TokenOwner::Project { project_id: row.id("project_id")?, team_id: row.id("team_id")? },
        };
        Ok(Self {
            id: row.id("id")?,
            owner,
            name: row.text("name")?,
            prefix: row.try_get("prefix")?,
            scopes: row.json("scopes")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
            created_at: row.try_get("created_at")?,
            position: row.try_get("position")?,
        })
    }
}

/// The token whose SHA-256 (hex) this is, valid or not. Those of deleted projects and teams are gone.
pub async fn find_by_hash(db: impl PgExecutor<'_>, hash: &str) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE hash = $1")).bind(hash).fetch_optional(db).await
}

/// The token with this id.
pub async fn find(db: impl PgExecutor<'_>, id: TokenId) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// A user's personal tokens that were not revoked.
pub async fn of_user(db: impl PgExecutor<'_>, user: UserId, page: Page) -> sqlx::Result<Listed<TokenRow>> {
    let query = format!(
        "{SELECT} WHERE user_id = $1 AND revoked_at IS NULL AND position < $2 ORDER BY position DESC LIMIT $3"
    );
    let items =
        sqlx::query_as(&query).bind(user.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |token: &TokenRow| token.position))
}

/// A project's tokens that were not revoked.
pub async fn of_project(
    db: impl PgExecutor<'_>,
    project: ProjectId,
    page: Page,
) -> sqlx::Result<Listed<TokenRow>> {
    let query = format!(
        "{SELECT} WHERE project_id = $1 AND revoked_at IS NULL AND position < $2 ORDER BY position DESC LIMIT $3"
    );
    let items =
        sqlx::query_as(&query).bind(project.0).bind(page.before()).bind(page.read()).fetch_all(db).await?;
    Ok(Listed::cut(items, page, |token: &TokenRow| token.position))
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
            hash       text        NOT NULL UNIQUE,
            user_id    uuid,
            project_id uuid,
            team_id    uuid,
            name       text        NOT NULL,
            prefix     text        NOT NULL,
            scopes     jsonb       NOT NULL,
            expires_at timestamptz,
            revoked_at timestamptz,
            created_at timestamptz NOT NULL,
            position   bigint      NOT NULL
        );
        CREATE INDEX tokens_user ON tokens (user_id, position);
        CREATE INDEX tokens_project ON tokens (project_id, position);
        CREATE INDEX tokens_team ON tokens (team_id);
        -- Events of a project after its first do not name its team.
        CREATE TABLE token_projects (
            project_id uuid PRIMARY KEY,
            team_id    uuid NOT NULL
        );"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["tokens", "token_projects"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let query = match &recorded.fact {
            Fact::User(user, UserEvent::UserTokenCreated { token_id, name, hash, prefix, expires_at }) => {
                sqlx::query(
                    "INSERT INTO tokens (id, created_at, position, user_id, hash, name, prefix, expires_at, scopes)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '[]')",
                )
                .bind(token_id.0)
                .bind(recorded.at)
                .bind(recorded.position)
                .bind(user.0)
                .bind(hash)
                .bind(name.as_str())
                .bind(prefix)
                .bind(expires_at)
            }
            Fact::Project(
                project,
                ProjectEvent::ProjectTokenCreated { token_id, name, hash, prefix, scopes, expires_at },
            ) => sqlx::query(
                "INSERT INTO tokens (id, created_at, position, project_id, team_id, hash, name, prefix, expires_at,
                                     scopes)
                 SELECT $1, $2, $3, project_id, team_id, $5, $6, $7, $8, $9
                   FROM token_projects WHERE project_id = $4",
            )
            .bind(token_id.0)
            .bind(recorded.at)
            .bind(recorded.position)
            .bind(project.0)
            .bind(hash)
            .bind(name.as_str())
            .bind(prefix)
            .bind(expires_at)
            .bind(Json(scopes)),
            Fact::User(_, UserEvent::UserTokenRevoked { token_id })
            | Fact::Project(_, ProjectEvent::ProjectTokenRevoked { token_id }) => {
                sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1").bind(token_id.0).bind(recorded.at)
            }
            Fact::Project(project, ProjectEvent::ProjectCreated { team_id, .. }) => {
                sqlx::query("INSERT INTO token_projects (project_id, team_id) VALUES ($1, $2)")
                    .bind(project.0)
                    .bind(team_id.0)
            }
            Fact::Project(project, ProjectEvent::ProjectDeleted { .. }) => {
                sqlx::query("DELETE FROM tokens WHERE project_id = $1").bind(project.0)
            }
            Fact::Team(team, TeamEvent::TeamDeleted { .. }) => {
                sqlx::query("DELETE FROM tokens WHERE team_id = $1").bind(team.0)
            }
            _ => return Ok(()),
        };
        query.execute(db).await.map(drop)
    }
}
