//! Password hashes and the one-time secret of an empty installation. Mutable, outside the log.

use chrono::{DateTime, Utc};
use domain::claim::ClaimScope;
use domain::ids::UserId;
use domain::user::identity_key;
use sqlx::PgPool;

/// Sets the password hash (argon2id, a PHC string) of a user.
pub async fn set_password(pool: &PgPool, user: UserId, hash: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO credentials (user_id, password_hash, changed_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, changed_at = excluded.changed_at",
    )
    .bind(user.0)
    .bind(hash)
    .bind(now)
    .execute(pool)
    .await
    .map(drop)
}

/// The password hash of a user.
pub async fn password(pool: &PgPool, user: UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT password_hash FROM credentials WHERE user_id = $1")
        .bind(user.0)
        .fetch_optional(pool)
        .await
}

/// Forgets the password of somebody who did not become a user after all.
pub async fn forget_password(pool: &PgPool, user: UserId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM credentials WHERE user_id = $1").bind(user.0).execute(pool).await.map(drop)
}

/// The user whom an issuer knows as this. Asks the names that the log's own transactions take: it is never late.
pub async fn user_of_identity(pool: &PgPool, issuer: &str, subject: &str) -> sqlx::Result<Option<UserId>> {
    let owner: Option<String> = sqlx::query_scalar("SELECT owner FROM claims WHERE scope = $1 AND key = $2")
        .bind(ClaimScope::UserIdentity.as_str())
        .bind(identity_key(issuer, subject))
        .fetch_optional(pool)
        .await?;
    Ok(owner.and_then(|owner| owner.parse().ok()))
}

/// Whether anybody was ever registered. Asks the names that the log's own transactions take: it is never late.
pub async fn any_user(pool: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM claims WHERE scope = $1)")
        .bind(ClaimScope::UserIdentity.as_str())
        .fetch_one(pool)
        .await
}

/// Puts a new setup secret in place of any earlier one.
pub async fn set_setup_token(pool: &PgPool, hash: &[u8], now: DateTime<Utc>) -> sqlx::Result<()> {
    let mut db = pool.begin().await?;
    sqlx::query("DELETE FROM setup_tokens").execute(&mut *db).await?;
    sqlx::query("INSERT INTO setup_tokens (token_hash, created_at) VALUES ($1, $2)")
        .bind(hash)
        .bind(now)
        .execute(&mut *db)
        .await?;
    db.commit().await
}

/// Uses up the setup secret; `false` when it is another one or was used.
pub async fn use_setup_token(pool: &PgPool, hash: &[u8]) -> sqlx::Result<bool> {
    let used = sqlx::query("DELETE FROM setup_tokens WHERE token_hash = $1").bind(hash).execute(pool).await?;
    Ok(used.rows_affected() == 1)
}

/// Whether this is the setup secret; leaves it as it is.
pub async fn is_setup_token(pool: &PgPool, hash: &[u8]) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM setup_tokens WHERE token_hash = $1)")
        .bind(hash)
        .fetch_one(pool)
        .await
}
