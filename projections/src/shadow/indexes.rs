//! The indexes of a schema, taken away while its tables are filled: making them afterwards is much faster.

use sqlx::{PgConnection, Row};

/// Indexes and the constraints that are indexes, as statements that make them.
pub(super) struct Indexes {
    schema: String,
    /// Name and statement of each.
    all: Vec<(String, String)>,
}

impl Indexes {
    /// Takes all indexes of a schema away.
    pub(super) async fn take(db: &mut PgConnection, schema: &str) -> sqlx::Result<Self> {
        let rows = sqlx::query(
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
        .fetch_all(&mut *db)
        .await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            sqlx::raw_sql(row.try_get("remove")?).execute(&mut *db).await?;
            all.push((row.try_get("name")?, row.try_get("make")?));
        }
        Ok(Self { schema: schema.to_owned(), all })
    }

    /// Makes them again, but for those that are there already, and removes what others were made meanwhile.
    pub(super) async fn put_back(self, db: &mut PgConnection) -> sqlx::Result<()> {
        let there: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class WHERE relkind = 'i' AND relnamespace = $1::regnamespace",
        )
        .bind(&self.schema)
        .fetch_all(&mut *db)
        .await?;
        for name in there.iter().filter(|name| self.all.iter().all(|(kept, _)| kept != *name)) {
            sqlx::raw_sql(&format!("DROP INDEX {}.{name}", self.schema)).execute(&mut *db).await?;
        }
        for (_, make) in self.all.iter().filter(|(name, _)| !there.contains(name)) {
            sqlx::raw_sql(make).execute(&mut *db).await?;
        }
        Ok(())
    }
}
