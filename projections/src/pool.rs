//! Connections on which tables are named without their schema: query tables first, then the log.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgExecutor, PgPool};

/// How long to wait for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// A connection that was used so lately is taken to be alive. A server needs longer to restart.
const TRUSTED: Duration = Duration::from_secs(1);

/// How many seconds the oldest open transaction of this database has been open, ours of this moment excepted. What
/// others hold open keeps PostgreSQL from cleaning up; who may not see them (`pg_read_all_stats`) sees his own.
pub async fn oldest_transaction(db: impl PgExecutor<'_>) -> sqlx::Result<f64> {
    sqlx::query_scalar(
        "SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_one(db)
    .await
}

/// Opens a pool. `max_connections` includes one that listens for the feed. Nothing is connected to yet when
/// the server cannot be reached: the error comes with the first query.
pub async fn connect(url: &str, max_connections: u32) -> sqlx::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?.application_name("mastra-admin").options([
        ("search_path", "read,public"),
        ("timezone", "UTC"),
        // "does not exist, skipping" is no news.
        ("client_min_messages", "warning"),
        // No request waits so long; rebuilds lift it.
        ("statement_timeout", "60s"),
        // A process that is stopped in the middle must not hold what others wait for.
        ("idle_in_transaction_session_timeout", "30s"),
    ]);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE)
        // Asking a connection whether it lives costs every query a second round trip: only who has been idle is asked.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move { Ok(meta.idle_for < TRUSTED || connection.ping().await.is_ok()) })
        })
        .after_connect(|connection, _| Box::pin(async move { take_role(connection).await }))
        .connect_with(options)
        .await
}

/// A connection beside the pool's, for what needs one for itself for long.
pub async fn alone(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let mut db = pool.connect_options().connect().await?;
    take_role(&mut db).await?;
    Ok(db)
}

/// Whether connections of this pool have the rights of the log's owner: no role to take was to be had.
pub async fn may_rewrite(pool: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT has_table_privilege('public.events', 'UPDATE')").fetch_one(pool).await
}

/// Works as the role that can write to the log through functions alone, where the database has it, lets us, and lets it
/// make query tables.
/// `RESET ROLE` leads back, for what the owner alone may do.
async fn take_role(connection: &mut PgConnection) -> sqlx::Result<()> {
    let role = "SELECT set_config('role', rolname, false) FROM pg_roles
                 WHERE rolname = 'mastra_admin_app' AND pg_has_role(oid, 'MEMBER')
                   AND has_database_privilege(oid, current_database(), 'CREATE')";
    sqlx::query(role).execute(connection).await?;
    Ok(())
}
