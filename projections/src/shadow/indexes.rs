//! The indexes of a schema, taken away while its tables are filled: making them afterwards is much faster.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sqlx::{Connection, PgConnection, PgPool, Row};

use super::connect;
use crate::feed::Consumer;

/// Indexes, and the constraints that are indexes.
pub(super) struct Indexes {
    schema: String,
    all: Vec<Index>,
}

/// One of them, with the statements that make and remove it.
struct Index {
    name: String,
    make: String,
    remove: String,
}

impl Index {
    fn is_constraint(&self) -> bool {
        self.make.starts_with("ALTER TABLE")
    }
}

impl Indexes {
    /// Those that belong to a consumer's tables in this schema, whether they are there or not: PostgreSQL describes
    /// them on tables that are made in a transaction which is rolled back.
    pub(super) async fn of(
        db: &mut PgConnection,
        schema: &str,
        consumer: &dyn Consumer,
    ) -> sqlx::Result<Self> {
        let mut tx = db.begin().await?;
        sqlx::raw_sql(&format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}"))
            .execute(&mut *tx)
            .await?;
        sqlx::raw_sql(consumer.tables()).execute(&mut *tx).await?;
        let all = sqlx::query(
            "SELECT i.relname::text AS name,
                    CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.oid)
                         ELSE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', $1, t.relname, c.conname,
                                     pg_get_constraintdef(c.oid)) END AS make,
                    CASE WHEN c.oid IS NULL THEN format('DROP INDEX %I.%I', $1, i.relname)
                         ELSE format('ALTER TABLE %I.%I DROP CONSTRAINT %I', $1, t.relname, c.conname) END AS remove
               FROM pg_index x
               JOIN pg_class i ON i.oid = x.indexrelid
               JOIN pg_class t ON t.oid = x.indrelid
               LEFT JOIN pg_constraint c ON c.conindid = i.oid AND c.contype IN ('p', 'u')
              WHERE i.relnamespace = $1::regnamespace
              ORDER BY t.relname, i.oid",
        )
        .bind(schema)
        .persistent(false)
        .try_map(|row| {
            Ok(Index {
                name: row.try_get("name")?,
                make: row.try_get("make")?,
                remove: row.try_get("remove")?,
            })
        })
        .fetch_all(&mut *tx)
        .await?;
        tx.rollback().await?;
        Ok(Self { schema: schema.to_owned(), all })
    }

    /// Whether some are not there: somebody has begun to fill these tables and has not come to the end.
    pub(super) async fn are_missing(&self, db: &mut PgConnection) -> sqlx::Result<bool> {
        let there = self.there(db).await?;
        Ok(self.all.iter().any(|index| !there.contains(&index.name)))
    }

    /// Takes all of them away.
    pub(super) async fn remove(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let there = self.there(&mut *db).await?;
        for index in self.all.iter().filter(|index| there.contains(&index.name)) {
            sqlx::raw_sql(&index.remove).execute(&mut *db).await?;
        }
        Ok(())
    }

    /// Makes those that are not there, two at a time, and removes what others were made meanwhile. It takes a
    /// second connection, which waits for that of one who was killed while he made them.
    pub(super) async fn put_back(&self, pool: &PgPool, db: &mut PgConnection) -> sqlx::Result<()> {
        let mut other = connect(pool, &format!("{}_indexes", self.schema)).await?;
        let there = self.there(&mut *db).await?;
        for name in there.iter().filter(|name| self.all.iter().all(|index| index.name != **name)) {
            sqlx::raw_sql(&format!("DROP INDEX {}.{name}", self.schema)).execute(&mut *db).await?;
        }
        let lacking = self.all.iter().filter(|index| !there.contains(&index.name));
        let (keys, mut indexes): (Vec<_>, Vec<_>) = lacking.partition(|index| index.is_constraint());
        // A constraint has its table for itself.
        for key in keys {
            sqlx::raw_sql(&key.make).execute(&mut *db).await?;
        }
        // From the end: what takes longest, an index of words, comes first.
        indexes.sort_by_key(|index| index.make.contains(" USING gin "));
        let indexes = Mutex::new(indexes);
        tokio::try_join!(make(&indexes, db), make(&indexes, &mut other))?;
        other.close().await
    }

    async fn there(&self, db: &mut PgConnection) -> sqlx::Result<HashSet<String>> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relkind = 'i' AND relnamespace = $1::regnamespace",
        )
        .bind(&self.schema)
        .persistent(false)
        .fetch_all(db)
        .await?;
        Ok(names.into_iter().collect())
    }
}

/// Makes one after the other of those that nobody else has begun.
async fn make(indexes: &Mutex<Vec<&Index>>, db: &mut PgConnection) -> sqlx::Result<()> {
    loop {
        let next = indexes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(index) = next else { return Ok(()) };
        sqlx::raw_sql(&index.make).execute(&mut *db).await?;
    }
}
