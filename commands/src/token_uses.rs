//! When API tokens were last used. Mutable, outside the log: a use is no fact that anybody decides by. Noted in memory
//! and written in batches, so that a crash loses some seconds of it and a rebuild nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use domain::ids::TokenId;
use sqlx::{PgPool, Row};
use uuid::Uuid;

/// The uses of tokens: those noted by this server, and the table of all.
pub struct TokenUses {
    pool: PgPool,
    /// Not written yet. Only tokens that are valid get here, so it does not grow by guesses.
    noted: Mutex<HashMap<TokenId, DateTime<Utc>>>,
}

impl TokenUses {
    /// The uses that this database knows of.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, noted: Mutex::default() }
    }

    /// Notes that a valid token was used.
    pub fn note(&self, token: TokenId, at: DateTime<Utc>) {
        let mut noted = self.noted();
        let known = noted.entry(token).or_insert(at);
        *known = at.max(*known);
    }

    /// Writes what was noted; what cannot be written is part of the next batch. To be called every few seconds, and
    /// before the end.
    pub async fn flush(&self) -> sqlx::Result<()> {
        let batch = std::mem::take(&mut *self.noted());
        if batch.is_empty() {
            return Ok(());
        }
        let (mut ids, mut times) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for (token, at) in &batch {
            ids.push(token.0);
            times.push(*at);
        }
        // In one order, so that two servers never wait for each other in a circle.
        let written = sqlx::query(
            "INSERT INTO token_uses (token_id, last_used_at)
             SELECT noted.token_id, noted.at FROM unnest($1::uuid[], $2::timestamptz[]) AS noted (token_id, at)
              ORDER BY noted.token_id
             ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at
              WHERE token_uses.last_used_at < excluded.last_used_at",
        )
        .bind(ids)
        .bind(times)
        .execute(&self.pool)
        .await;
        if written.is_err() {
            batch.into_iter().for_each(|(token, at)| self.note(token, at));
        }
        written.map(drop)
    }

    /// When these tokens were last used; those that never were are left out.
    pub async fn of(&self, tokens: &[TokenId]) -> sqlx::Result<HashMap<TokenId, DateTime<Utc>>> {
        let ids: Vec<Uuid> = tokens.iter().map(|token| token.0).collect();
        let rows = sqlx::query("SELECT token_id, last_used_at FROM token_uses WHERE token_id = ANY($1)")
            .bind(ids)
            .fetch_all(&self.pool)
            .await?;
        let mut uses = HashMap::with_capacity(rows.len());
        for row in rows {
            uses.insert(TokenId(row.try_get("token_id")?), row.try_get("last_used_at")?);
        }
        let noted = self.noted();
        for token in tokens {
            if let Some(at) = noted.get(token) {
                let known = uses.entry(*token).or_insert(*at);
                *known = (*known).max(*at);
            }
        }
        Ok(uses)
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<TokenId, DateTime<Utc>>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
