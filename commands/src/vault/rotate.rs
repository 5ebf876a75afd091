//! The master keys: which one the database is under, and how another takes its place while servers run.
//!
//! 1. Every server is started with both keys; each goes on to wrap with the one that the database is under.
//! 2. [`Vault::begin_rotation`] says that it is another one from now on: new data keys are wrapped by it.
//! 3. [`Vault::rewrap`] wraps the others anew, some at a time, each time for good.
//! 4. [`Vault::end_rotation`] notes that nothing needs the old key any more.
//!
//! Data keys stay the same, and so does everything that they have sealed. Who is killed in between goes on with 3.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::ports::encryption::{Encryption, EncryptionError};
use domain::sealed::KeyOwner;
use domain::secret::Secret;
use sqlx::PgConnection;

use super::{Vault, VaultError};

/// Data keys that are wrapped anew in one transaction.
const BATCH: i64 = 20;

/// The master key that a database is under.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Present {
    /// Its name.
    pub name: String,
    /// Since when it wraps new data keys.
    pub since: DateTime<Utc>,
    /// When nothing needed another one any more; none while data keys are wrapped anew.
    pub complete_at: Option<DateTime<Utc>>,
}

impl Vault {
    /// The names of the master keys that this process holds.
    pub fn masters(&self) -> Vec<String> {
        self.masters.iter().map(|master| master.name().to_owned()).collect()
    }

    /// The master key that the database is under; none before the vault was opened for the first time.
    pub async fn master(&self) -> sqlx::Result<Option<Present>> {
        sqlx::query_as("SELECT name, since, complete_at FROM master_key").fetch_optional(&self.pool).await
    }

    /// How many data keys each master key wraps.
    pub async fn wrapped_by(&self) -> sqlx::Result<Vec<(String, i64)>> {
        let counts =
            "SELECT provider, count(*) FROM data_keys WHERE wrapped IS NOT NULL GROUP BY 1 ORDER BY 1";
        sqlx::query_as(counts).fetch_all(&self.pool).await
    }

    /// Puts the database under this master key, which must be one of ours; answers the name of the one before, or
    /// nothing when it was this one already. To be committed by the caller.
    ///
    /// # Errors
    /// When this process does not hold the key.
    pub async fn begin_rotation(
        &self,
        db: &mut PgConnection,
        to: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, VaultError> {
        self.named(to).ok_or_else(|| self.missing(to))?;
        let old: String =
            sqlx::query_scalar("SELECT name FROM master_key FOR UPDATE").fetch_one(&mut *db).await?;
        if old == to {
            return Ok(None);
        }
        sqlx::query("UPDATE master_key SET name = $1, since = $2, complete_at = NULL")
            .bind(to)
            .bind(now)
            .execute(db)
            .await?;
        Ok(Some(old))
    }

    /// Wraps some more data keys by the present master key; answers how many, and none when there are no more.
    ///
    /// # Errors
    /// When a data key opens with none of our master keys.
    pub async fn rewrap(&self) -> Result<usize, VaultError> {
        let master = self.present().await?;
        let mut tx = self.pool.begin().await?;
        // Whoever erases somebody meanwhile waits for us, or we for him: what is erased stays so.
        let found: Vec<(String, Vec<u8>, String)> = sqlx::query_as(
            "SELECT owner, wrapped, provider FROM data_keys WHERE wrapped IS NOT NULL AND provider <> $1
              ORDER BY owner LIMIT $2 FOR UPDATE",
        )
        .bind(master.name())
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        for (owner, wrapped, old) in &found {
            let opened = self.unwrap(wrapped, old, owner).await;
            let (_, key) = opened
                .inspect_err(|_| tracing::error!(owner, "no master key opens the data key of {owner}"))?;
            sqlx::query("UPDATE data_keys SET wrapped = $2, provider = $3 WHERE owner = $1")
                .bind(owner)
                .bind(master.wrap(&key, owner).await?)
                .bind(master.name())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(found.len())
    }

    /// Notes that every data key is wrapped by the present master key; answers how many there are, or nothing when
    /// that was noted before, or is not so yet. To be committed by the caller.
    pub async fn end_rotation(&self, db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Option<i64>> {
        let ended = sqlx::query(
            "UPDATE master_key m SET complete_at = $1
              WHERE complete_at IS NULL
                AND NOT EXISTS (SELECT FROM data_keys WHERE wrapped IS NOT NULL AND provider <> m.name)",
        )
        .bind(now)
        .execute(&mut *db)
        .await?;
        if ended.rows_affected() == 0 {
            return Ok(None);
        }
        sqlx::query_scalar("SELECT count(*) FROM data_keys WHERE wrapped IS NOT NULL")
            .fetch_one(db)
            .await
            .map(Some)
    }

    /// Finds out which master key the database is under. Where nobody has noted it yet, it is the one that opens the
    /// first data key, or that of a new installation.
    pub(super) async fn settle_master(&self, now: DateTime<Utc>) -> Result<(), VaultError> {
        if self.master().await?.is_none() {
            let system = KeyOwner::System.to_string();
            let first: Option<(Vec<u8>, String)> = sqlx::query_as(
                "SELECT wrapped, provider FROM data_keys WHERE owner = $1 AND wrapped IS NOT NULL",
            )
            .bind(&system)
            .fetch_optional(&self.pool)
            .await?;
            let master = match first {
                Some((wrapped, name)) => self.unwrap(&wrapped, &name, &system).await?.0,
                None => self.masters.first().ok_or_else(|| self.missing("one"))?,
            };
            sqlx::query(
                "INSERT INTO master_key (name, since, complete_at) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING",
            )
            .bind(master.name())
            .bind(now)
            .execute(&self.pool)
            .await?;
        }
        self.present().await.map(drop)
    }

    /// The master key that the database is under.
    pub(super) async fn present(&self) -> Result<&Arc<dyn Encryption>, VaultError> {
        let name: String = sqlx::query_scalar("SELECT name FROM master_key").fetch_one(&self.pool).await?;
        self.named(&name).ok_or_else(|| self.missing(&name))
    }

    /// Opens a data key with the master key that it names, or that it turns out to be wrapped by: older ones name none.
    pub(super) async fn unwrap(
        &self,
        wrapped: &[u8],
        name: &str,
        owner: &str,
    ) -> Result<(&Arc<dyn Encryption>, Secret), VaultError> {
        let named = self.named(name);
        for master in named.into_iter().chain(self.masters.iter().filter(|_| named.is_none())) {
            match master.unwrap(wrapped, owner).await {
                Ok(key) => return Ok((master, key)),
                Err(EncryptionError::WrongKey) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(if named.is_some() { EncryptionError::WrongKey.into() } else { self.missing(name) })
    }

    fn named(&self, name: &str) -> Option<&Arc<dyn Encryption>> {
        self.masters.iter().find(|master| master.name() == name)
    }

    fn missing(&self, name: &str) -> VaultError {
        VaultError::OtherMasterKey { needed: name.to_owned(), given: self.masters().join(" and ") }
    }
}
