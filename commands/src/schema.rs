//! Brings a database to the present schema, and gives the server's role its rights and no more.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgConnection, PgPool};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");
const RIGHTS: &str = include_str!("../../migrations/rights.sql");

/// SQLSTATE of a role that may not do what was asked.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Why a database was not brought to the present schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A migration failed, or one that was applied is not ours.
    #[error(transparent)]
    Migration(#[from] MigrateError),
    /// PostgreSQL refused something else.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The role that asks does not own the log, and migrations are pending.
    #[error("migrations are pending ({0}): run `mastra-admin migrate` as the owner of the database")]
    Pending(usize),
}

/// Brings the database to the present schema, forward only, and sets the rights of the role `mastra_admin_app`, as
/// which connections of the server work. The owner of the log does both; for another role it is enough that nothing
/// is left to do.
pub async fn migrate(pool: &PgPool) -> Result<(), SchemaError> {
    let mut db = pool.acquire().await?.detach();
    // The log belongs into `public`, whatever search path the pool has: with the query tables' schema first, a
    // second start would find no log there and make another one.
    sqlx::raw_sql("RESET ROLE; SET search_path = public").execute(&mut db).await?;
    let owns: Option<bool> = sqlx::query_scalar(
        "SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass('public.events')",
    )
    .fetch_optional(&mut db)
    .await?;
    if owns == Some(false) {
        return nothing_pending(&mut db).await;
    }
    MIGRATIONS.run(&mut db).await?;
    if make_role(&mut db).await? {
        sqlx::raw_sql(RIGHTS).execute(&mut db).await?;
    }
    Ok(())
}

async fn nothing_pending(db: &mut PgConnection) -> Result<(), SchemaError> {
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(db).await?;
    match MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version)).count() {
        0 => Ok(()),
        pending => Err(SchemaError::Pending(pending)),
    }
}

/// Makes the role, unless another database of this server has it already, and lets the owner take it on. `false`
/// where the owner may not make roles: `replay-tool doctor` tells of it.
async fn make_role(db: &mut PgConnection) -> Result<bool, SchemaError> {
    let made = sqlx::raw_sql(
        "DO $$ BEGIN
             IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mastra_admin_app') THEN
                 CREATE ROLE mastra_admin_app NOLOGIN;
             END IF;
             IF NOT pg_has_role('mastra_admin_app', 'MEMBER') THEN
                 GRANT mastra_admin_app TO CURRENT_USER;
             END IF;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database was first
         END $$",
    )
    .execute(db)
    .await;
    match made {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE) => {
            tracing::warn!(%refused, "the server works as the owner of the log: the role mastra_admin_app cannot be made");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
