//! What queries are asked of: the tables of now, or those of a moment.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use super::Then;

/// The query tables as of now or as of then: every query takes a reference to one. Cheap to clone.
#[derive(Clone)]
pub struct View(Inner);

#[derive(Clone)]
enum Inner {
    Now(PgPool),
    Past(Arc<Snapshot>),
}

struct Snapshot {
    db: Mutex<PgConnection>,
    then: Then,
    _permit: OwnedSemaphorePermit,
}

impl View {
    /// The tables as they are.
    pub fn now(pool: PgPool) -> Self {
        Self(Inner::Now(pool))
    }

    pub(super) fn past(db: PgConnection, then: Then, permit: OwnedSemaphorePermit) -> Self {
        Self(Inner::Past(Arc::new(Snapshot { db: Mutex::new(db), then, _permit: permit })))
    }

    /// The moment it is of; none when it is of now.
    pub fn then(&self) -> Option<Then> {
        match &self.0 {
            Inner::Now(_) => None,
            Inner::Past(past) => Some(past.then),
        }
    }

    /// The time it is of.
    pub fn at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.then().map_or(now, |then| then.at)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.then()).finish()
    }
}

// With a lifetime of its own, as that of a pool: what it returns keeps the view, not the reference.
impl<'c> Executor<'c> for &'_ View {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.0.clone() {
            Inner::Now(pool) => pool.fetch_many(query),
            // As a whole: who reads slowly must not keep the connection from others of the same request.
            Inner::Past(past) => stream::once(async move {
                let mut db = past.db.lock().await;
                db.fetch_many(query).collect::<Vec<_>>().await
            })
            .flat_map(stream::iter)
            .boxed(),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.0.clone() {
            Inner::Now(pool) => pool.fetch_optional(query),
            Inner::Past(past) => Box::pin(async move { past.db.lock().await.fetch_optional(query).await }),
        }
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement<'q>>>
    where
        'c: 'e,
    {
        match self.0.clone() {
            Inner::Now(pool) => pool.prepare_with(sql, parameters),
            Inner::Past(past) => {
                Box::pin(async move { past.db.lock().await.prepare_with(sql, parameters).await })
            }
        }
    }

    fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'c: 'e,
    {
        match self.0.clone() {
            Inner::Now(pool) => pool.describe(sql),
            Inner::Past(past) => Box::pin(async move { past.db.lock().await.describe(sql).await }),
        }
    }
}
