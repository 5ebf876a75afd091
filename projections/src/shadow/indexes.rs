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
    /// What makes a constraint of it, if it is one.
    constrain: Option<String>,
    remove: String,
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
                    pg_get_indexdef(i.oid) AS make,
                    CASE WHEN c.oid IS NOT NULL
                         THEN format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s USING INDEX %I', $1, t.relname,
                                     c.conname, CASE c.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END,
                                     i.relname) END AS constrain,
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
                constrain: row.try_get("constrain")?,
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
        self.remove_others(&mut *db).await?;
        let there = self.there(&mut *db).await?;
        let mut lacking: Vec<_> = self.all.iter().filter(|index| !there.contains(&index.name)).collect();
        let constraints: Vec<_> = lacking.iter().filter_map(|index| index.constrain.as_ref()).collect();
        // From the end: what takes longest, an index of words, comes first.
        lacking.sort_by_key(|index| index.make.contains(" USING gin "));
        let lacking = Mutex::new(lacking);
        let (ours, others) = tokio::join!(make(&lacking, db), make(&lacking, &mut other));
        ours.and(others)?;
        // A constraint has its table for itself, and takes no time when its index is there.
        for constraint in constraints {
            sqlx::raw_sql(constraint).execute(&mut *db).await?;
        }
        other.close().await
    }

    /// Removes indexes that were made meanwhile, and those of constraints that are none yet.
    async fn remove_others(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let others: Vec<String> = sqlx::query_scalar(
            "SELECT format('DROP INDEX %I.%I', $1, i.relname) FROM pg_class i
              WHERE i.relkind = 'i' AND i.relnamespace = $1::regnamespace
                AND (i.relname <> ALL($2)
                     OR i.relname = ANY($3) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid))",
        )
        .bind(&self.schema)
        .bind(self.names(|_| true))
        .bind(self.names(|index| index.constrain.is_some()))
        .persistent(false)
        .fetch_all(&mut *db)
        .await?;
        for other in others {
            sqlx::raw_sql(&other).execute(&mut *db).await?;
        }
        Ok(())
    }

    fn names(&self, which: impl Fn(&Index) -> bool) -> Vec<&str> {
        self.all.iter().filter(|index| which(index)).map(|index| index.name.as_str()).collect()
    }

    /// The names of those that are there. An index that is to be a constraint is when it is one.
    async fn there(&self, db: &mut PgConnection) -> sqlx::Result<HashSet<String>> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class i WHERE relkind = 'i' AND relnamespace = $1::regnamespace
                AND (relname <> ALL($2) OR EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid))",
        )
        .bind(&self.schema)
        .bind(self.names(|index| index.constrain.is_some()))
        .persistent(false)
        .fetch_all(db)
        .await?;
        Ok(names.into_iter().collect())
    }
}

/// Makes one after the other of those that nobody else has begun. When one cannot be made, no other is begun.
async fn make(indexes: &Mutex<Vec<&Index>>, db: &mut PgConnection) -> sqlx::Result<()> {
    loop {
        let queue = || indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = queue().pop() else { return Ok(()) };
        if let Err(error) = sqlx::raw_sql(&index.make).execute(&mut *db).await {
            queue().clear();
            return Err(error);
        }
    }
}
