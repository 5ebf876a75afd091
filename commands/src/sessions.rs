//! Sign-ins that have not ended. Mutable, outside the log; that one began or ended is a fact of the user.

use chrono::{DateTime, Duration, Utc};
use domain::ids::{SessionId, UserId};
use sqlx::{PgPool, Row};

/// A session not used for so long ends, in days.
const IDLE_DAYS: i64 = 7;
/// Every session ends after so long, in days.
const ABSOLUTE_DAYS: i64 = 30;

/// One sign-in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Through which provider.
    pub provider: String,
    /// What a browser's own page sends with every change.
    pub csrf_token: String,
    /// From which address, sealed under the user's key.
    pub source_ip: Option<String>,
    /// With which program, sealed under the user's key.
    pub user_agent: Option<String>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// A sign-in to be stored.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// SHA-256 of its token, which only its owner has.
    pub token_hash: Vec<u8>,
    /// What a browser's own page sends with every change.
    pub csrf_token: String,
    /// Whose it is.
    pub user_id: UserId,
    /// Through which provider.
    pub provider: String,
    /// From which address, sealed under the user's key.
    pub source_ip: Option<String>,
    /// With which program, sealed under the user's key.
    pub user_agent: Option<String>,
}

/// The table of sessions.
#[derive(Clone)]
pub struct Sessions {
    pool: PgPool,
}

const COLUMNS: &str =
    "id, user_id, provider, csrf_token, source_ip, user_agent, created_at, last_seen_at, expires_at";

impl Sessions {
    /// The sessions of this database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Begins a session; answers when it ends at the latest.
    pub async fn begin(&self, new: &NewSession, now: DateTime<Utc>) -> sqlx::Result<DateTime<Utc>> {
        let expires_at = now + Duration::days(ABSOLUTE_DAYS);
        sqlx::query(
            "INSERT INTO sessions (id, token_hash, csrf_token, user_id, provider, created_at, last_seen_at, expires_at,
                                   source_ip, user_agent)
             VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9)",
        )
        .bind(new.id.0)
        .bind(&new.token_hash)
        .bind(&new.csrf_token)
        .bind(new.user_id.0)
        .bind(&new.provider)
        .bind(now)
        .bind(expires_at)
        .bind(&new.source_ip)
        .bind(&new.user_agent)
        .execute(&self.pool)
        .await?;
        Ok(expires_at)
    }

    /// The session with this token, unless it has ended.
    pub async fn find(&self, token_hash: &[u8], now: DateTime<Utc>) -> sqlx::Result<Option<Session>> {
        let query = format!(
            "SELECT {COLUMNS} FROM sessions WHERE token_hash = $1 AND expires_at > $2 AND last_seen_at > $3"
        );
        let row = sqlx::query(&query)
            .bind(token_hash)
            .bind(now)
            .bind(now - Duration::days(IDLE_DAYS))
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let session = read(&row)?;
        if now - session.last_seen_at > Duration::minutes(1) {
            sqlx::query("UPDATE sessions SET last_seen_at = $2 WHERE id = $1")
                .bind(session.id.0)
                .bind(now)
                .execute(&self.pool)
                .await?;
        }
        Ok(Some(session))
    }

    /// Whether a session goes on.
    pub async fn is_open(&self, id: SessionId, now: DateTime<Utc>) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM sessions WHERE id = $1 AND expires_at > $2 AND last_seen_at > $3)",
        )
        .bind(id.0)
        .bind(now)
        .bind(now - Duration::days(IDLE_DAYS))
        .fetch_one(&self.pool)
        .await
    }

    /// The sessions of a user, newest first.
    pub async fn of_user(&self, user: UserId, now: DateTime<Utc>) -> sqlx::Result<Vec<Session>> {
        let query = format!(
            "SELECT {COLUMNS} FROM sessions WHERE user_id = $1 AND expires_at > $2 AND last_seen_at > $3
              ORDER BY id DESC"
        );
        let rows = sqlx::query(&query)
            .bind(user.0)
            .bind(now)
            .bind(now - Duration::days(IDLE_DAYS))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Ends one session of a user; `false` when there was none.
    pub async fn end(&self, user: UserId, id: SessionId) -> sqlx::Result<bool> {
        let ended = sqlx::query("DELETE FROM sessions WHERE id = $1 AND user_id = $2")
            .bind(id.0)
            .bind(user.0)
            .execute(&self.pool)
            .await?;
        Ok(ended.rows_affected() == 1)
    }

    /// Forgets the sessions whose time is over; answers how many there were.
    pub async fn forget_over(&self, now: DateTime<Utc>) -> sqlx::Result<u64> {
        let over = sqlx::query("DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at <= $2")
            .bind(now)
            .bind(now - Duration::days(IDLE_DAYS))
            .execute(&self.pool)
            .await?;
        Ok(over.rows_affected())
    }
}

fn read(row: &sqlx::postgres::PgRow) -> sqlx::Result<Session> {
    Ok(Session {
        id: SessionId(row.try_get("id")?),
        user_id: UserId(row.try_get("user_id")?),
        provider: row.try_get("provider")?,
        csrf_token: row.try_get("csrf_token")?,
        source_ip: row.try_get("source_ip")?,
        user_agent: row.try_get("user_agent")?,
        created_at: row.try_get("created_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}
