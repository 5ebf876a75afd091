//! First answers to commands that carried an idempotency key, so that a repeat gets the same bytes.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgExecutor, Row};

use crate::IdempotencyKey;

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptAnswer {
    /// Hash of the request it answers.
    pub request_hash: String,
    /// HTTP status.
    pub status: u16,
    /// HTTP headers, names with values.
    pub headers: Value,
    /// The body, sealed by who keeps it.
    pub body: String,
}

impl FromRow<'_, PgRow> for KeptAnswer {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let Json(headers) = row.try_get("headers")?;
        let status: i16 = row.try_get("status")?;
        let status = u16::try_from(status).unwrap_or_default();
        Ok(Self { request_hash: row.try_get("request_hash")?, status, headers, body: row.try_get("body")? })
    }
}

/// The answer that was given under this key.
pub async fn find(db: impl PgExecutor<'_>, key: &IdempotencyKey) -> sqlx::Result<Option<KeptAnswer>> {
    sqlx::query_as("SELECT request_hash, status, headers, body FROM answers WHERE scope = $1 AND key = $2")
        .bind(&key.scope)
        .bind(&key.key)
        .fetch_optional(db)
        .await
}

/// Keeps an answer; the first one stays.
pub async fn keep(
    db: impl PgExecutor<'_>,
    key: &IdempotencyKey,
    answer: &KeptAnswer,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO answers (scope, key, request_hash, status, headers, body, recorded_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (scope, key) DO NOTHING",
    )
    .bind(&key.scope)
    .bind(&key.key)
    .bind(&answer.request_hash)
    .bind(i16::try_from(answer.status).unwrap_or_default())
    .bind(Json(&answer.headers))
    .bind(&answer.body)
    .bind(now)
    .execute(db)
    .await
    .map(drop)
}

/// Forgets answers that were given before `before`.
pub async fn forget_before(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<u64> {
    sqlx::query("DELETE FROM answers WHERE recorded_at < $1")
        .bind(before)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
}
