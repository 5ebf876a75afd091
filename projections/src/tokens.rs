//! API tokens of people and projects, found by their hash.
//!
//! A project's token is its maker's word: when he leaves the team it ends. What he may do otherwise is asked for with
//! every request, by who lets it in.

use chrono::{DateTime, Utc};
use domain::envelope::Actor;
use domain::fact::{Fact, Recorded, kind};
use domain::ids::{ProjectId, TeamId, TokenId, UserId};
use domain::project::{ProjectEvent, TokenScope};
use domain::team::TeamEvent;
use domain::user::UserEvent;
use ipnet::IpNet;
use sqlx::{PgConnection, PgExecutor};

use crate::model::ReadModel;
use crate::rows::{Row, Table, row};

row! {
    /// One token that was not revoked.
    pub struct TokenRow in "tokens" by (id: TokenId) found by (user_id, project_id, created_by) {
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
        /// Its last four; none of tokens that were made before these were kept.
        pub last_four: Option<String>,
        /// What it may do; a personal token without any may do all that its owner may.
        pub scopes: Vec<TokenScope>,
        /// From where it is believed; from everywhere when empty.
        pub ip_allowlist: Vec<IpNet>,
        /// From when on it is refused.
        pub expires_at: Option<DateTime<Utc>>,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// By whom; none where no person did.
        pub created_by: Option<UserId>,
        /// Team of its project.
        pub team_id: Option<TeamId>,
        /// SHA-256 of the secret before the last rotation, in hex.
        pub old_hash: Option<String>,
        /// From when on that one is refused.
        pub old_until: Option<DateTime<Utc>>,
    }
}

impl TokenRow {
    /// Whether the secret with this SHA-256 in hex works: the present one or that before it, each in its time.
    pub fn is_valid(&self, hash: &str, now: DateTime<Utc>) -> bool {
        let is_present = self.hash == hash || self.old_until.is_some_and(|until| now < until);
        is_present && self.expires_at.is_none_or(|at| now < at)
    }
}

/// The token with this SHA-256, in hex, or whose secret before the last rotation has it. Whether it works is another
/// question.
pub async fn find_by_hash(db: impl PgExecutor<'_>, hash: &str) -> sqlx::Result<Option<TokenRow>> {
    let query = TokenRow::select("WHERE hash = $1 OR old_hash = $1 ORDER BY hash <> $1 LIMIT 1");
    sqlx::query_as(&query).bind(hash).fetch_optional(db).await
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
    const VERSION: i32 = 2;
    const KINDS: &'static [&'static str] = &[kind::USER, kind::PROJECT, kind::TEAM];
    const PASSES_OVER: &'static [&'static str] = &[
        "user.signed_in",
        "user.signed_out",
        "project.env_var_set",
        "project.env_var_deleted",
        "project.env_vars_revealed",
        "project.settings_changed",
    ];
    const TABLE_NAMES: &'static [&'static str] = &["tokens"];
    const TABLES: &'static str = "CREATE TABLE tokens (
        id           uuid        PRIMARY KEY,
        user_id      uuid,
        project_id   uuid,
        name         text        NOT NULL,
        hash         text        NOT NULL UNIQUE,
        prefix       text        NOT NULL,
        last_four    text,
        scopes       jsonb       NOT NULL,
        ip_allowlist jsonb       NOT NULL,
        expires_at   timestamptz,
        created_at   timestamptz NOT NULL,
        created_by   uuid,
        team_id      uuid,
        old_hash     text,
        old_until    timestamptz
    );
    CREATE INDEX ON tokens (user_id);
    CREATE INDEX ON tokens (project_id);
    CREATE INDEX ON tokens (created_by);
    CREATE INDEX ON tokens (old_hash);";

    type Rows = Table<TokenRow>;

    fn foresee(tokens: &mut Table<TokenRow>, _recorded: &Recorded, fact: &Fact) {
        use {ProjectEvent::*, UserEvent::*};
        if let Fact::User(_, UserTokenRevoked { token_id } | UserTokenRotated { token_id, .. })
        | Fact::Project(_, ProjectTokenRevoked { token_id } | ProjectTokenRotated { token_id, .. }) = fact
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
            Fact::User(user, event) => of_person(tokens, db, recorded, *user, event).await,
            Fact::Project(project, event) => of_a_project(tokens, db, recorded, *project, event).await,
            Fact::Team(team, TeamEvent::TeamMemberRemoved { user_id, .. }) => {
                for id in tokens.find(db, "created_by", user_id).await? {
                    let is_of_team =
                        tokens.peek(db, &id).await?.is_some_and(|row| row.team_id == Some(*team));
                    if is_of_team {
                        tokens.remove(db, &id).await?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

async fn of_person(
    tokens: &mut Table<TokenRow>,
    db: &mut PgConnection,
    recorded: &Recorded,
    user: UserId,
    event: &UserEvent,
) -> sqlx::Result<()> {
    use UserEvent::*;
    match event {
        UserTokenCreated { token_id, name, hash, prefix, last_four, scopes, ip_allowlist, expires_at } => {
            tokens.insert(TokenRow {
                id: *token_id,
                user_id: Some(user),
                project_id: None,
                name: name.as_str().to_owned(),
                hash: hash.clone(),
                prefix: prefix.clone(),
                last_four: last_four.clone(),
                scopes: scopes.clone(),
                ip_allowlist: ip_allowlist.clone(),
                expires_at: *expires_at,
                created_at: recorded.at,
                created_by: None,
                team_id: None,
                old_hash: None,
                old_until: None,
            })
        }
        UserTokenRotated { token_id, hash, prefix, last_four, overlap_until, expires_at } => {
            let row = tokens.get(db, token_id).await?;
            rotate(row, (hash, prefix, last_four), *overlap_until, *expires_at);
            Ok(())
        }
        UserTokenRevoked { token_id } => tokens.remove(db, token_id).await,
        UserDisabled { .. } | UserErased { .. } => {
            tokens.remove_by(db, "user_id", &user).await?;
            tokens.remove_by(db, "created_by", &user).await
        }
        _ => Ok(()),
    }
}

async fn of_a_project(
    tokens: &mut Table<TokenRow>,
    db: &mut PgConnection,
    recorded: &Recorded,
    project: ProjectId,
    event: &ProjectEvent,
) -> sqlx::Result<()> {
    use ProjectEvent::*;
    match event {
        ProjectTokenCreated { token_id, name, hash, prefix, last_four, scopes, ip_allowlist, expires_at } => {
            tokens.insert(TokenRow {
                id: *token_id,
                user_id: None,
                project_id: Some(project),
                name: name.as_str().to_owned(),
                hash: hash.clone(),
                prefix: prefix.clone(),
                last_four: last_four.clone(),
                scopes: scopes.clone(),
                ip_allowlist: ip_allowlist.clone(),
                expires_at: *expires_at,
                created_at: recorded.at,
                created_by: person(recorded),
                team_id: recorded.team_id,
                old_hash: None,
                old_until: None,
            })
        }
        ProjectTokenRotated { token_id, hash, prefix, last_four, overlap_until, expires_at } => {
            let row = tokens.get(db, token_id).await?;
            rotate(row, (hash, prefix, last_four), *overlap_until, *expires_at);
            Ok(())
        }
        ProjectTokenRevoked { token_id } => tokens.remove(db, token_id).await,
        ProjectDeleted { .. } => tokens.remove_by(db, "project_id", &project).await,
        _ => Ok(()),
    }
}

/// The person who did it, himself or by a token of his.
fn person(recorded: &Recorded) -> Option<UserId> {
    let envelope = recorded.metadata.envelope();
    [Some(&envelope.actor), envelope.on_behalf_of.as_ref()].into_iter().flatten().find_map(
        |actor| match actor {
            Actor::User(user) => Some(*user),
            _ => None,
        },
    )
}

fn rotate(
    row: Option<&mut TokenRow>,
    (hash, prefix, last_four): (&str, &str, &str),
    overlap_until: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
) {
    let Some(row) = row else { return };
    row.old_hash = Some(std::mem::replace(&mut row.hash, hash.to_owned()));
    row.old_until = Some(overlap_until);
    row.prefix = prefix.to_owned();
    row.last_four = Some(last_four.to_owned());
    row.expires_at = expires_at.or(row.expires_at);
}
