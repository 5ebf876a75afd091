//! Codes that bring a browser into a protected app: each is good once, on whichever server it arrives.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// Uses a code up. Whether nobody has before.
pub async fn use_up(pool: &PgPool, code: Uuid, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let query = "INSERT INTO access_codes (id, used_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let used = sqlx::query(query).bind(code).bind(now).execute(pool).await?;
    Ok(used.rows_affected() == 1)
}

/// Forgets codes that were used before a time; by then they must be too old to be taken at all.
pub async fn forget_before(pool: &PgPool, time: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM access_codes WHERE used_at < $1").bind(time).execute(pool).await.map(drop)
}
