//! API tokens of people and projects, found by their hash.

use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{ProjectId, TokenId, UserId};
use domain::project::{ProjectEvent, TokenScope};
use domain::user::UserEvent;
use sqlx::{PgConnection, PgExecutor};

use crate::model::ReadModel;
use crate::rows::{Row, Table, row};

row! {
    /// One token that was not revoked.
    pub struct TokenRow in "tokens" by (id: TokenId) found by (user_id, project_id) {
        /// Its id.
        pub id: TokenId,
        /// Whose it is, when it is a person's.
        pub user_id: Option<UserId>,
        /// Which project's it is, when it is a project's.
        pub project_id: Option<ProjectId>,
        /// Its name.
        pub name: String,
        /// Its SHA-256, in hex.
        pub hash: String,
        /// Its first characters.
        pub prefix: String,
        /// What it may do; a personal token has none of its own.
        pub scopes: Vec<TokenScope>,
        /// From when on it is refused.
        pub expires_at: Option<DateTime<Utc>>,
        /// When it was made.
        pub created_at: DateTime<Utc>,
    }
}

/// The token with this SHA-256, in hex.
pub async fn find_by_hash(db: impl PgExecutor<'_>, hash: &str) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as(&TokenRow::select("WHERE hash = $1")).bind(hash).fetch_optional(db).await
}

/// The token with this id.
pub async fn find(db: impl PgExecutor<'_>, id: TokenId) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as(&TokenRow::select("WHERE id = $1")).bind(id.0).fetch_optional(db).await
}

/// The tokens of a person, newest first.
pub async fn of_user(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as(&TokenRow::select("WHERE user_id = $1 ORDER BY id DESC")).bind(user.0).fetch_all(db).await
}

/// The tokens of a project, newest first.
pub async fn of_project(db: impl PgExecutor<'_>, project: ProjectId) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as(&TokenRow::select("WHERE project_id = $1 ORDER BY id DESC"))
        .bind(project.0)
        .fetch_all(db)
        .await
}

/// The read model.
pub struct Tokens;

impl ReadModel for Tokens {
    const NAME: &'static str = "tokens";
    const VERSION: i32 = 1;
    const KINDS: &'static [&'static str] = &[kind::USER, kind::PROJECT];
    const TABLE_NAMES: &'static [&'static str] = &["tokens"];
    const TABLES: &'static str = "CREATE TABLE tokens (
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
    CREATE INDEX ON tokens (project_id);";

    type Rows = Table<TokenRow>;

    fn foresee(tokens: &mut Table<TokenRow>, _recorded: &Recorded, fact: &Fact) {
        if let Fact::User(_, UserEvent::UserTokenRevoked { token_id })
        | Fact::Project(_, ProjectEvent::ProjectTokenRevoked { token_id }) = fact
        {
            tokens.want(*token_id);
        }
    }

    async fn apply(
        tokens: &mut Table<TokenRow>,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> sqlx::Result<()> {
        match fact {
            Fact::User(user, UserEvent::UserTokenCreated { token_id, name, hash, prefix, expires_at }) => {
                tokens.insert(TokenRow {
                    id: *token_id,
                    user_id: Some(*user),
                    project_id: None,
                    name: name.as_str().to_owned(),
                    hash: hash.clone(),
                    prefix: prefix.clone(),
                    scopes: vec![],
                    expires_at: *expires_at,
                    created_at: recorded.at,
                })
            }
            Fact::Project(
                project,
                ProjectEvent::ProjectTokenCreated { token_id, name, hash, prefix, scopes, expires_at },
            ) => tokens.insert(TokenRow {
                id: *token_id,
                user_id: None,
                project_id: Some(*project),
                name: name.as_str().to_owned(),
                hash: hash.clone(),
                prefix: prefix.clone(),
                scopes: scopes.clone(),
                expires_at: *expires_at,
                created_at: recorded.at,
            }),
            Fact::User(_, UserEvent::UserTokenRevoked { token_id })
            | Fact::Project(_, ProjectEvent::ProjectTokenRevoked { token_id }) => {
                tokens.remove(db, token_id).await
            }
            Fact::User(id, UserEvent::UserDisabled { .. } | UserEvent::UserErased { .. }) => {
                tokens.remove_by(db, "user_id", id).await
            }
            Fact::Project(id, ProjectEvent::ProjectDeleted { .. }) => {
                tokens.remove_by(db, "project_id", id).await
            }
            _ => Ok(()),
        }
    }
}
