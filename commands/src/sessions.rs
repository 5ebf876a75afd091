//! Sign-ins that have not ended. They change and are forgotten, and therefore stand outside the log, which
//! keeps only that they began and ended.

use chrono::{DateTime, Duration, Utc};
use domain::ids::{SessionId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};
use uuid::Uuid;

/// A sign-in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// What a browser must send besides its cookie.
    pub csrf_token: String,
    /// Through which provider.
    pub provider: String,
    /// From which address.
    pub source_ip: Option<String>,
    /// With which program.
    pub user_agent: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When it was last used, give or take a minute.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends, however much it is used.
    pub expires_at: DateTime<Utc>,
}

const COLUMNS: &str =
    "id, user_id, csrf_token, provider, source_ip, user_agent, created_at, last_seen_at, expires_at";

impl FromRow<'_, PgRow> for Session {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            user_id: row.try_get::<Uuid, _>("user_id")?.into(),
            csrf_token: row.try_get("csrf_token")?,
            provider: row.try_get("provider")?,
            source_ip: row.try_get("source_ip")?,
            user_agent: row.try_get("user_agent")?,
            created_at: row.try_get("created_at")?,
            last_seen_at: row.try_get("last_seen_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    }
}

/// Begins a session. `token_hash` is the SHA-256 of the token that only its owner has.
pub async fn begin(db: impl PgExecutor<'_>, session: &Session, token_hash: &[u8]) -> sqlx::Result<()> {
    let query = format!(
        "INSERT INTO sessions (token_hash, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    );
    sqlx::query(&query)
        .bind(token_hash)
        .bind(session.id.0)
        .bind(session.user_id.0)
        .bind(&session.csrf_token)
        .bind(&session.provider)
        .bind(&session.source_ip)
        .bind(&session.user_agent)
        .bind(session.created_at)
        .bind(session.last_seen_at)
        .bind(session.expires_at)
        .execute(db)
        .await
        .map(drop)
}

/// The session with this token, unless its time is over: absolutely, or because it was idle for so long.
pub async fn find(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    now: DateTime<Utc>,
    idle: Duration,
) -> sqlx::Result<Option<Session>> {
    let query = format!(
        "SELECT {COLUMNS} FROM sessions WHERE token_hash = $1 AND expires_at > $2 AND last_seen_at > $3"
    );
    sqlx::query_as(&query).bind(token_hash).bind(now).bind(now - idle).fetch_optional(db).await
}

/// The sessions of a user whose time is not over, newest first.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: UserId,
    now: DateTime<Utc>,
    idle: Duration,
) -> sqlx::Result<Vec<Session>> {
    let query = format!(
        "SELECT {COLUMNS} FROM sessions WHERE user_id = $1 AND expires_at > $2 AND last_seen_at > $3 ORDER BY id DESC"
    );
    sqlx::query_as(&query).bind(user.0).bind(now).bind(now - idle).fetch_all(db).await
}

/// Notes that a session is used.
pub async fn touch(db: impl PgExecutor<'_>, id: SessionId, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("UPDATE sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2")
        .bind(id.0)
        .bind(now)
        .execute(db)
        .await
        .map(drop)
}

/// Ends a session of a user; false when there was none.
pub async fn end(db: impl PgExecutor<'_>, user: UserId, id: SessionId) -> sqlx::Result<bool> {
    let ended = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id = $2")
        .bind(user.0)
        .bind(id.0)
        .execute(db)
        .await?;
    Ok(ended.rows_affected() > 0)
}

/// Forgets the sessions whose time is over.
pub async fn forget_over(db: impl PgExecutor<'_>, now: DateTime<Utc>, idle: Duration) -> sqlx::Result<u64> {
    sqlx::query("DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at <= $2")
        .bind(now)
        .bind(now - idle)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
}
