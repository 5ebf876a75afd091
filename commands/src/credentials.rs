//! Password hashes and the one-time secret that makes the first user: never in the log, where they would stay
//! for ever.

use chrono::{DateTime, Utc};
use domain::claim::ClaimScope;
use domain::ids::UserId;
use sqlx::PgExecutor;

/// The password hash of a user, a PHC string.
pub async fn find(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT password_hash FROM credentials WHERE user_id = $1")
        .bind(user.0)
        .fetch_optional(db)
        .await
}

/// Sets the password of a user.
pub async fn put(
    db: impl PgExecutor<'_>,
    user: UserId,
    password_hash: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO credentials (user_id, password_hash, changed_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, changed_at = excluded.changed_at",
    )
    .bind(user.0)
    .bind(password_hash)
    .bind(now)
    .execute(db)
    .await
    .map(drop)
}

/// Forgets the password of somebody who did not become a user after all.
pub async fn forget(db: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM credentials WHERE user_id = $1").bind(user.0).execute(db).await.map(drop)
}

/// Whether anybody was ever registered. Asks the names, which the log's own transactions move: it is never late.
pub async fn any_user(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM claims WHERE scope = $1)")
        .bind(ClaimScope::UserEmail.as_str())
        .fetch_one(db)
        .await
}

/// Keeps the hash of a setup token.
pub async fn put_setup_token(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO setup_tokens (token_hash, created_at) VALUES ($1, $2)")
        .bind(token_hash)
        .bind(now)
        .execute(db)
        .await
        .map(drop)
}

/// Whether this setup token is still good.
pub async fn knows_setup_token(db: impl PgExecutor<'_>, token_hash: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM setup_tokens WHERE token_hash = $1)")
        .bind(token_hash)
        .fetch_one(db)
        .await
}

/// Uses a setup token up, and all others with it; of two who try at once one gets `true`.
pub async fn take_setup_token(db: impl PgExecutor<'_>, token_hash: &[u8]) -> sqlx::Result<bool> {
    let taken =
        sqlx::query("DELETE FROM setup_tokens WHERE EXISTS (SELECT FROM setup_tokens WHERE token_hash = $1)")
            .bind(token_hash)
            .execute(db)
            .await?;
    Ok(taken.rows_affected() > 0)
}
