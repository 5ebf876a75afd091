//! First answers to commands that carried an idempotency key, sealed: they may hold a token that is shown once.

use chrono::{DateTime, Utc};
use domain::sealed::KeyOwner;
use sqlx::types::Json;
use sqlx::{PgPool, Row};

use crate::context::IdempotencyKey;
use crate::vault::{Vault, VaultError};

/// What was answered the first time.
#[derive(Clone, Debug)]
pub struct FirstAnswer {
    /// Hash of the request.
    pub request_hash: String,
    /// HTTP status.
    pub status: u16,
    /// HTTP headers that belong to it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The table of answers.
pub struct Answers<'a> {
    pool: PgPool,
    vault: &'a Vault,
}

impl<'a> Answers<'a> {
    /// The answers of this database.
    pub fn new(pool: PgPool, vault: &'a Vault) -> Self {
        Self { pool, vault }
    }

    /// What was answered to this key.
    pub async fn find(&self, key: &IdempotencyKey) -> Result<Option<FirstAnswer>, VaultError> {
        let row = sqlx::query(
            "SELECT request_hash, status, headers, body FROM answers WHERE scope = $1 AND key = $2",
        )
        .bind(&key.scope)
        .bind(&key.key)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let body = self.vault.open_note(KeyOwner::System, &aad(key), row.try_get("body")?).await?;
        let Json(headers) = row.try_get("headers")?;
        let status: i16 = row.try_get("status")?;
        Ok(body.map(|body| FirstAnswer {
            request_hash: row.get("request_hash"),
            status: u16::try_from(status).unwrap_or(200),
            headers,
            body: body.into_bytes(),
        }))
    }

    /// Keeps an answer, unless one is kept already.
    pub async fn remember(
        &self,
        key: &IdempotencyKey,
        answer: &FirstAnswer,
        now: DateTime<Utc>,
    ) -> Result<(), VaultError> {
        let body = String::from_utf8_lossy(&answer.body);
        let body = self.vault.seal_note(KeyOwner::System, &aad(key), &body, now).await?;
        sqlx::query(
            "INSERT INTO answers (scope, key, request_hash, status, headers, body, recorded_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(&key.scope)
        .bind(&key.key)
        .bind(&answer.request_hash)
        .bind(i16::try_from(answer.status).unwrap_or(200))
        .bind(Json(&answer.headers))
        .bind(body)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets what was answered before `before`; answers how much that was.
    pub async fn forget_before(&self, before: DateTime<Utc>) -> sqlx::Result<u64> {
        let old = sqlx::query("DELETE FROM answers WHERE recorded_at < $1")
            .bind(before)
            .execute(&self.pool)
            .await?;
        Ok(old.rows_affected())
    }
}

fn aad(key: &IdempotencyKey) -> String {
    format!("answer|{}|{}", key.scope, key.key)
}
