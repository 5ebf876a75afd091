//! What sign-in providers have told last of each object that they keep: deliveries come late, twice, and in any order.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};

/// One object of a provider, which nobody else is told of meanwhile, on any server.
pub struct Told {
    db: PgConnection,
    issuer: String,
    object: String,
    last: Option<(DateTime<Utc>, bool)>,
}

impl Told {
    /// Waits until nobody else works on the object.
    pub async fn of(pool: &PgPool, issuer: &str, object: &str) -> sqlx::Result<Self> {
        // Not one of the pool's: the work that this waits for needs those.
        let mut db = pool.acquire().await?.detach();
        sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 1))")
            .bind(format!("{issuer} {object}"))
            .execute(&mut db)
            .await?;
        let last = sqlx::query_as("SELECT at, gone FROM told WHERE issuer = $1 AND object = $2")
            .bind(issuer)
            .bind(object)
            .fetch_optional(&mut db)
            .await?;
        Ok(Self { db, issuer: issuer.to_owned(), object: object.to_owned(), last })
    }

    /// Whether something of this time is news: the object is not gone, and is now, or nothing as new was told.
    pub fn is_news(&self, at: DateTime<Utc>, gone: bool) -> bool {
        self.last.is_none_or(|(last, was_gone)| !was_gone && (gone || last < at))
    }

    /// Notes what was told, after all of it was done.
    pub async fn note(mut self, at: DateTime<Utc>, gone: bool) -> sqlx::Result<()> {
        sqlx::query(
            "INSERT INTO told (issuer, object, at, gone) VALUES ($1, $2, $3, $4)
             ON CONFLICT (issuer, object) DO UPDATE SET at = EXCLUDED.at, gone = EXCLUDED.gone",
        )
        .bind(&self.issuer)
        .bind(&self.object)
        .bind(at)
        .bind(gone)
        .execute(&mut self.db)
        .await?;
        // Closing gives the lock back.
        self.db.close().await
    }
}

/// Whether anything was ever told of an object; and then, whether it is gone.
pub async fn is_gone(pool: &PgPool, issuer: &str, object: &str) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar("SELECT gone FROM told WHERE issuer = $1 AND object = $2")
        .bind(issuer)
        .bind(object)
        .fetch_optional(pool)
        .await
}
