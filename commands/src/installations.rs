//! Installations of an App that somebody has begun: the state that he takes to the git host is good once, for him.

use chrono::{DateTime, Utc};
use domain::ids::{TeamId, UserId};
use sqlx::{Connection, PgConnection, PgPool};

/// Notes that a user connects a team to a host; `hash` is that of the state.
pub async fn begin(
    pool: &PgPool,
    hash: &[u8],
    source: &str,
    (user, team): (UserId, TeamId),
    expires_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let query = "INSERT INTO installations_begun (state_hash, source, user_id, team_id, expires_at)
                 VALUES ($1, $2, $3, $4, $5)";
    let query = sqlx::query(query).bind(hash).bind(source).bind(user.0).bind(team.0).bind(expires_at);
    query.execute(pool).await.map(drop)
}

/// Uses a state up; the team that it is for, when this user began it and it is not over.
pub async fn end(
    pool: &PgPool,
    hash: &[u8],
    source: &str,
    user: UserId,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<TeamId>> {
    let query = "DELETE FROM installations_begun WHERE state_hash = $1 AND source = $2 AND user_id = $3
                 RETURNING team_id, expires_at";
    let begun: Option<(uuid::Uuid, DateTime<Utc>)> =
        sqlx::query_as(query).bind(hash).bind(source).bind(user.0).fetch_optional(pool).await?;
    Ok(begun.filter(|(_, until)| now < *until).map(|(team, _)| team.into()))
}

/// An installation that nobody else is connecting meanwhile, on any server.
pub struct Held(PgConnection);

/// Waits until nobody else connects an installation.
pub async fn hold(pool: &PgPool, source: &str, id: i64) -> sqlx::Result<Held> {
    // Not one of the pool's: what is done meanwhile needs those.
    let mut db = pool.acquire().await?.detach();
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 2))")
        .bind(format!("{source} {id}"))
        .execute(&mut db)
        .await?;
    Ok(Held(db))
}

impl Held {
    /// Lets the next one have it.
    pub async fn release(self) -> sqlx::Result<()> {
        self.0.close().await
    }
}

/// Forgets what nobody has ended in time.
pub async fn forget_over(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM installations_begun WHERE expires_at < $1")
        .bind(now)
        .execute(pool)
        .await
        .map(drop)
}
