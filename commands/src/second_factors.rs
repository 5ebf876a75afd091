//! Second factors of people who sign in with a password. Mutable, outside the log.

use chrono::{DateTime, Utc};
use domain::ids::UserId;
use sqlx::{PgPool, Row};

/// A second factor.
#[derive(Clone, Debug)]
pub struct SecondFactor {
    /// The shared secret, sealed under the user's key.
    pub secret: String,
    /// Whether its owner has shown that it works: only then it is asked for.
    pub is_confirmed: bool,
}

/// The second factor of a user, confirmed or not.
pub async fn find(pool: &PgPool, user: UserId) -> sqlx::Result<Option<SecondFactor>> {
    let row = sqlx::query("SELECT secret, confirmed_at IS NOT NULL FROM second_factors WHERE user_id = $1")
        .bind(user.0)
        .fetch_optional(pool)
        .await?;
    row.map(|row| Ok(SecondFactor { secret: row.try_get(0)?, is_confirmed: row.try_get(1)? })).transpose()
}

/// Puts a secret in place of one that was not confirmed; `false` when there is one that was.
pub async fn propose(pool: &PgPool, user: UserId, secret: &str, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let proposed = sqlx::query(
        "INSERT INTO second_factors (user_id, secret, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at
          WHERE second_factors.confirmed_at IS NULL",
    )
    .bind(user.0)
    .bind(secret)
    .bind(now)
    .execute(pool)
    .await?;
    Ok(proposed.rows_affected() == 1)
}

/// Has this secret asked for from now on; `false` when it is another one by now.
pub async fn confirm(
    pool: &PgPool,
    user: UserId,
    secret: &str,
    step: i64,
    recovery_codes: &[Vec<u8>],
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let confirmed = sqlx::query(
        "UPDATE second_factors SET confirmed_at = $5, last_step = $3, recovery_codes = $4
          WHERE user_id = $1 AND secret = $2 AND confirmed_at IS NULL",
    )
    .bind(user.0)
    .bind(secret)
    .bind(step)
    .bind(recovery_codes)
    .bind(now)
    .execute(pool)
    .await?;
    Ok(confirmed.rows_affected() == 1)
}

/// Uses up the code of a time step, and with it all before; `false` when it was used, whoever else tries at once.
pub async fn use_step(pool: &PgPool, user: UserId, step: i64) -> sqlx::Result<bool> {
    let used = sqlx::query("UPDATE second_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2")
        .bind(user.0)
        .bind(step)
        .execute(pool)
        .await?;
    Ok(used.rows_affected() == 1)
}

/// Whether this is a recovery code that was not used; leaves it.
pub async fn is_recovery_code(pool: &PgPool, user: UserId, hash: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM second_factors
                         WHERE user_id = $1 AND confirmed_at IS NOT NULL AND $2 = ANY (recovery_codes))",
    )
    .bind(user.0)
    .bind(hash)
    .fetch_one(pool)
    .await
}

/// Uses up a recovery code; answers how many are left, or none when it is not one of them.
pub async fn use_recovery_code(pool: &PgPool, user: UserId, hash: &[u8]) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar(
        "UPDATE second_factors SET recovery_codes = array_remove(recovery_codes, $2)
          WHERE user_id = $1 AND confirmed_at IS NOT NULL AND $2 = ANY (recovery_codes)
          RETURNING cardinality(recovery_codes)",
    )
    .bind(user.0)
    .bind(hash)
    .fetch_optional(pool)
    .await
}

/// Forgets the second factor of a user.
pub async fn forget(pool: &PgPool, user: UserId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM second_factors WHERE user_id = $1").bind(user.0).execute(pool).await.map(drop)
}
