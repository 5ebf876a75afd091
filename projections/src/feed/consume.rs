//! One consumer's task: take the lease, apply batches, keep the lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::fact::{Recorded, UnreadableEvent};
use sqlx::{Connection, PgConnection, PgPool, Row};
use thiserror::Error;

use super::{Consumer, Shared, State};
use crate::log;

/// Events applied in one transaction.
const BATCH: i64 = 500;
/// How long a consumer may be silent before another process takes it over.
const LEASE: Duration = Duration::from_secs(10);
/// How often it looks without being called; also keeps the lease.
const POLL: Duration = Duration::from_secs(1);

/// Why a batch was not applied.
#[derive(Debug, Error)]
enum Trouble {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    #[error("event {position} cannot be applied: {source}")]
    Poison { position: i64, source: sqlx::Error },
    #[error("another process has taken over")]
    Fenced,
}

/// What is held of a consumer.
#[derive(Clone, Copy)]
struct Hold {
    position: i64,
    fence: i64,
    /// When the lease was last renewed.
    kept: Instant,
}

pub(super) async fn run(shared: Arc<Shared>, name: &'static str, owner: String) {
    let state = &shared.consumers[name];
    let mut bell = shared.bell.subscribe();
    let mut hold = None;
    loop {
        bell.mark_unchanged();
        let result = step(&shared.pool, state, &owner, &mut hold).await;
        let more = match result {
            Ok(more) => {
                state.stalled.send_if_modified(|stalled| stalled.take().is_some());
                more
            }
            Err(trouble) => {
                hold = None;
                let text = trouble.to_string();
                let known = state.stalled.borrow().as_deref() == Some(text.as_str());
                if !known && !matches!(trouble, Trouble::Fenced) {
                    tracing::error!(consumer.name = name, error = %text, "consumer {name} does not go on");
                    state.stalled.send_replace(Some(text));
                }
                false
            }
        };
        if more && !shared.stop.is_cancelled() {
            continue;
        }
        tokio::select! {
            () = shared.stop.cancelled() => return release(&shared.pool, name, &owner).await,
            _ = bell.changed(), if hold.is_some() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Applies one batch. `true` when there may be more.
async fn step(pool: &PgPool, state: &State, owner: &str, hold: &mut Option<Hold>) -> Result<bool, Trouble> {
    let name = state.consumer.name();
    let held = match *hold {
        Some(held) => held,
        None => match take(pool, name, owner).await? {
            Some(held) => held,
            None => return Ok(false),
        },
    };
    *hold = Some(held);
    state.position.send_if_modified(|position| std::mem::replace(position, held.position) != held.position);
    let rows = log::read_after(pool, held.position, BATCH).await?;
    if rows.is_empty() {
        if held.kept.elapsed() > LEASE / 3 {
            keep(pool, name, held).await?;
            *hold = Some(Hold { kept: Instant::now(), ..held });
        }
        return Ok(false);
    }
    let more = rows.len() == usize::try_from(BATCH).expect("a small number");
    let events = rows.into_iter().map(|row| row.read()).collect::<Result<Vec<_>, _>>()?;
    let position = apply(pool, &*state.consumer, &events, held).await?;
    *hold = Some(Hold { position, kept: Instant::now(), ..held });
    state.position.send_replace(position);
    Ok(more)
}

/// Applies events and moves the checkpoint, or does neither.
async fn apply(
    pool: &PgPool,
    consumer: &dyn Consumer,
    events: &[Recorded],
    held: Hold,
) -> Result<i64, Trouble> {
    let mut db = pool.acquire().await?;
    let mut db = db.begin().await?;
    // Derived data: after a crash rows and checkpoint go back together.
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *db).await?;
    // The checkpoint first: its row lock puts the feed and a rebuild in order before either touches a table.
    let position = events.last().map_or(held.position, |event| event.position);
    advance(&mut db, consumer.name(), position, held.fence).await?;
    for event in events {
        consumer.apply(&mut db, event).await.map_err(|source| match source {
            sqlx::Error::Database(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)
                if !is_passing(&source) =>
            {
                Trouble::Poison { position: event.position, source }
            }
            source => Trouble::Database(source),
        })?;
    }
    db.commit().await?;
    Ok(position)
}

/// Whether the same statement may succeed later: connection, resources, serialisation, operator's hand.
fn is_passing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    code.is_some_and(|code| ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)))
}

/// Moves the checkpoint and renews the lease, unless another process has taken over.
async fn advance(db: &mut PgConnection, name: &str, position: i64, fence: i64) -> Result<(), Trouble> {
    let moved = sqlx::query(
        "UPDATE consumers SET position = $2, lease_until = now() + $4 * interval '1 second'
          WHERE name = $1 AND fence = $3",
    )
    .bind(name)
    .bind(position)
    .bind(fence)
    .bind(LEASE.as_secs_f64())
    .execute(db)
    .await?;
    if moved.rows_affected() == 1 { Ok(()) } else { Err(Trouble::Fenced) }
}

/// Takes the lease when nobody has it, or its holder has been silent.
async fn take(pool: &PgPool, name: &str, owner: &str) -> Result<Option<Hold>, Trouble> {
    let row = sqlx::query(
        "UPDATE consumers SET lease_owner = $2, lease_until = now() + $3 * interval '1 second', fence = fence + 1
          WHERE name = $1 AND (lease_owner IS NULL OR lease_owner = $2 OR lease_until < now())
        RETURNING position, fence",
    )
    .bind(name)
    .bind(owner)
    .bind(LEASE.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Hold { position: row.try_get("position")?, fence: row.try_get("fence")?, kept: Instant::now() }))
}

async fn keep(pool: &PgPool, name: &str, held: Hold) -> Result<(), Trouble> {
    let kept = sqlx::query(
        "UPDATE consumers SET lease_until = now() + $3 * interval '1 second' WHERE name = $1 AND fence = $2",
    )
    .bind(name)
    .bind(held.fence)
    .bind(LEASE.as_secs_f64())
    .execute(pool)
    .await?;
    if kept.rows_affected() == 1 { Ok(()) } else { Err(Trouble::Fenced) }
}

/// Lets another process go on at once.
async fn release(pool: &PgPool, name: &str, owner: &str) {
    let released =
        sqlx::query("UPDATE consumers SET lease_owner = NULL WHERE name = $1 AND lease_owner = $2")
            .bind(name)
            .bind(owner)
            .execute(pool)
            .await;
    if let Err(error) = released {
        tracing::debug!(consumer.name = name, %error, "the lease runs out by itself");
    }
}
