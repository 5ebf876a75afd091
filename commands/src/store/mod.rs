//! The event store: cqrs-es's contract on the log's own append function.
//!
//! Invariant: nothing is appended but through [`appender`], and nothing is read but through upcasting.

mod append;
mod appender;
mod cache;
mod change;
mod contract;
mod stream;

use std::fmt::Display;
use std::hash::RandomState;
use std::sync::Arc;

use domain::claim::{Claim, ClaimAct};
use domain::envelope::Envelope;
use domain::fact::{Stored, StoredEvent};
use domain::ids::EventId;
use sqlx::{PgPool, Row};
use tokio::sync::OwnedMutexGuard;

use crate::context::IdempotencyKey;
use crate::outcome::{CommandError, MOST_SINCE, Receipt, Since, StoreError};
use crate::vault::Vault;

use self::append::Append;
use self::cache::Cache;

pub use appender::Appender;
pub(crate) use change::{Change, check_size};

/// Loads aggregates and appends their events.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    appender: Appender,
    vault: Arc<Vault>,
    cache: Cache,
    hasher: RandomState,
}

/// An aggregate as it was read.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    /// Its id.
    pub id: String,
    /// Its state.
    pub aggregate: A,
    /// Number of its last event; 0 when there is none.
    pub version: i64,
    /// Position of its last event; 0 when there is none.
    pub position: i64,
    /// Number of the event that its last snapshot was taken after; 0 when there is none.
    snapshot: i64,
    /// Its last event; none when it comes from a snapshot and nothing came after.
    last: Option<EventId>,
}

impl<A: Stored> Loaded<A> {
    pub(crate) fn new(id: String) -> Self {
        Self { id, aggregate: A::default(), version: 0, position: 0, snapshot: 0, last: None }
    }

    fn take(&mut self, event: &StoredEvent) -> Result<(), StoreError> {
        event.events::<A>()?.into_iter().for_each(|event| self.aggregate.apply(event));
        (self.version, self.position) = (event.sequence, event.position);
        self.last = Some(event.event_id);
        Ok(())
    }
}

impl Store {
    /// A store on this log.
    pub fn new(pool: PgPool, appender: Appender, vault: Arc<Vault>) -> Self {
        Self { pool, appender, vault, cache: Cache::new(), hasher: RandomState::new() }
    }

    /// The database of the log.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The aggregate as the log has it now.
    pub async fn load<A: Stored>(&self, id: impl Display) -> Result<Loaded<A>, StoreError> {
        let id = id.to_string();
        let mut loaded = match self.cache.get::<A>(&id) {
            Some(mut known) => {
                stream::catch_up(&self.pool, &mut known).await?;
                known
            }
            None => stream::load(&self.pool, id).await?,
        };
        stream::keep_snapshot(&self.pool, &mut loaded);
        self.cache.put(loaded.clone());
        Ok(loaded)
    }

    /// The aggregate as it was last seen here, which may be behind the log: the flag says whether it is fresh.
    pub(crate) async fn recall<A: Stored>(&self, id: &str) -> Result<(Loaded<A>, bool), StoreError> {
        match self.cache.get::<A>(id) {
            Some(known) => Ok((known, false)),
            None => Ok((self.load(id).await?, true)),
        }
    }

    /// Waits for the turn of a command to an aggregate: those of this process go one after the other.
    pub(crate) async fn turn(&self, aggregate_type: &'static str, id: &str) -> OwnedMutexGuard<()> {
        self.cache.turn(aggregate_type, id).lock_owned().await
    }

    /// Remembers an aggregate, and what led to it in a snapshot when that is much.
    fn keep<A: Stored>(&self, mut loaded: Loaded<A>) {
        stream::keep_snapshot(&self.pool, &mut loaded);
        self.cache.put(loaded);
    }

    /// Appends changes of one aggregate or several, all or nothing. The receipt is that of the last event.
    pub(crate) async fn append<E: std::error::Error + 'static>(
        &self,
        changes: Vec<Change>,
        key: Option<IdempotencyKey>,
    ) -> Result<Receipt, CommandError<E>> {
        let mut append = Append { key, ..Append::default() };
        let mut after = Vec::new();
        for change in changes {
            after.push(
                change
                    .add_to(&mut append)
                    .map_err(|Claim { scope, key, .. }| CommandError::NameTaken { scope, key })?,
            );
        }
        let Some(last) = append.events.last() else {
            return Err(StoreError::Answer("nothing to append".to_owned()).into());
        };
        let (aggregate_id, version) = (last.aggregate_id.clone(), last.sequence);
        let count = i64::try_from(append.events.len()).expect("a command has few events");
        let verdict = self.appender.append(append, &self.hasher).await;
        // What is known of the aggregates is as it was appended, or not known well enough.
        let first = match &verdict {
            Ok(append::Verdict::Appended { position }) => Some(position - count + 1),
            _ => None,
        };
        for after in after {
            after(self, first);
        }
        verdict?.into_receipt(aggregate_id, version)
    }

    /// What the first command of this key made; an error when the key was used for another request.
    pub(crate) async fn find_receipt<E: std::error::Error + 'static>(
        &self,
        key: &IdempotencyKey,
    ) -> Result<Option<Receipt>, CommandError<E>> {
        let row = sqlx::query(
            "SELECT request_hash, aggregate_id, version, position FROM idempotency_keys WHERE scope = $1 AND key = $2",
        )
        .bind(&key.scope)
        .bind(&key.key)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(None) };
        if row.get::<String, _>("request_hash") != key.request_hash {
            return Err(CommandError::KeyReused);
        }
        Ok(Some(Receipt {
            aggregate_id: row.get("aggregate_id"),
            version: row.get("version"),
            position: row.get("position"),
            repeated: true,
        }))
    }

    /// What came after an aggregate's event of this number, at most [`MOST_SINCE`] events.
    pub(crate) async fn since(
        &self,
        aggregate_type: &str,
        id: &str,
        version: i64,
    ) -> Result<Vec<Since>, StoreError> {
        let rows = sqlx::query(
            "SELECT position, event_type, metadata::text AS metadata, recorded_at FROM events
              WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4",
        )
        .bind(aggregate_type)
        .bind(id)
        .bind(version)
        .bind(MOST_SINCE)
        .fetch_all(&self.pool)
        .await?;
        let since = rows.iter().map(|row| Since {
            position: row.get("position"),
            event_type: row.get("event_type"),
            actor: Envelope::read(row.get("metadata")).actor,
            at: row.get("recorded_at"),
        });
        Ok(since.collect())
    }

    /// The first of these names that somebody has already; for dry runs.
    pub(crate) async fn find_taken<A: Stored>(
        &self,
        id: A::Id,
        events: &[A::Event],
    ) -> Result<Option<Claim>, StoreError> {
        let claims: Vec<_> = events.iter().flat_map(|event| A::claims(id, event)).collect();
        let freed = |scope, key: &str| {
            claims.iter().any(|c| c.act == ClaimAct::Free && c.scope == scope && c.key == key)
        };
        for claim in claims.iter().filter(|c| c.act == ClaimAct::Take && !freed(c.scope, &c.key)) {
            let taken: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM claims WHERE scope = $1 AND key = $2)")
                    .bind(claim.scope.as_str())
                    .bind(&claim.key)
                    .fetch_one(&self.pool)
                    .await?;
            if taken {
                return Ok(Some(claim.clone()));
            }
        }
        Ok(None)
    }
}
