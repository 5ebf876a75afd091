//! Reads the stream of one aggregate: from its beginning, from a snapshot, or from where one was.

use domain::fact::{Stored, StoredEvent};
use domain::ids::EventId;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::Loaded;
use crate::outcome::StoreError;

/// Events after which a snapshot is worth its row.
const SNAPSHOT_EVERY: i64 = 100;

/// The events of a stream after the one with number `after`.
pub(super) async fn events(
    pool: &PgPool,
    aggregate_type: &str,
    aggregate_id: &str,
    after: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    sqlx::query(
        "SELECT position, event_id, recorded_at, team_id, aggregate_type, aggregate_id, sequence, event_type,
                event_version, payload::text, metadata::text
           FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 ORDER BY sequence",
    )
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(after)
    .try_map(event)
    .fetch_all(pool)
    .await
}

/// The aggregate as the log has it: from its snapshot, if there is one that this code can use, else from the
/// beginning.
pub(super) async fn load<A: Stored>(pool: &PgPool, id: String) -> Result<Loaded<A>, StoreError> {
    // One look: the snapshot, and the events after it. A snapshot of another state version, or after an event that is
    // no longer the one of the stream (a restored log), joins nothing and is as good as absent.
    let rows = sqlx::query(
        "WITH snapshot AS (
             SELECT s.sequence, s.state, e.position FROM snapshots s
               JOIN events e ON e.aggregate_type = s.aggregate_type AND e.aggregate_id = s.aggregate_id
                            AND e.sequence = s.sequence AND e.event_id = s.event_id
              WHERE s.aggregate_type = $1 AND s.aggregate_id = $2 AND s.state_version = $3)
         SELECT s.sequence, s.position, NULL::uuid AS event_id, NULL::timestamptz AS recorded_at,
                NULL::uuid AS team_id, NULL::text AS event_type, NULL::text AS event_version, s.state::text AS payload,
                NULL::text AS metadata, true AS is_snapshot
           FROM snapshot s
         UNION ALL
         SELECT e.sequence, e.position, e.event_id, e.recorded_at, e.team_id, e.event_type, e.event_version, e.payload::text,
                e.metadata::text, false
           FROM events e
          WHERE e.aggregate_type = $1 AND e.aggregate_id = $2
            AND e.sequence > coalesce((SELECT sequence FROM snapshot), 0)
          ORDER BY is_snapshot DESC, sequence",
    )
    .bind(A::TYPE)
    .bind(&id)
    .bind(A::STATE_VERSION)
    .fetch_all(pool)
    .await?;
    let mut loaded = Loaded::<A>::new(id);
    for row in &rows {
        if row.try_get("is_snapshot")? {
            match serde_json::from_str(row.try_get("payload")?) {
                Ok(state) => {
                    loaded.aggregate = state;
                    (loaded.version, loaded.position) = (row.try_get("sequence")?, row.try_get("position")?);
                    loaded.snapshot = loaded.version;
                }
                Err(error) => {
                    tracing::warn!(%error, "the snapshot of {} {} does not read", A::TYPE, loaded.id);
                    return whole(pool, loaded.id).await;
                }
            }
        } else {
            let event = event_of(A::TYPE, &loaded.id, row)?;
            loaded.take(&event)?;
        }
    }
    Ok(loaded)
}

/// Brings an aggregate that was seen before up to the log.
pub(super) async fn catch_up<A: Stored>(pool: &PgPool, loaded: &mut Loaded<A>) -> Result<(), StoreError> {
    for event in events(pool, A::TYPE, &loaded.id, loaded.version).await? {
        loaded.take(&event)?;
    }
    Ok(())
}

async fn whole<A: Stored>(pool: &PgPool, id: String) -> Result<Loaded<A>, StoreError> {
    let mut loaded = Loaded::<A>::new(id);
    catch_up(pool, &mut loaded).await?;
    Ok(loaded)
}

/// Writes a snapshot when the stream has grown enough since the last. After the fact: the command that led here is
/// answered, and nothing depends on it.
pub(super) fn keep_snapshot<A: Stored>(pool: &PgPool, loaded: &mut Loaded<A>) {
    let Some(last) = loaded.last.filter(|_| loaded.version - loaded.snapshot >= SNAPSHOT_EVERY) else {
        return;
    };
    loaded.snapshot = loaded.version;
    let Ok(state) = serde_json::to_value(&loaded.aggregate) else { return };
    let write = write::<A>(pool.clone(), loaded.id.clone(), loaded.version, last, state);
    tokio::spawn(write);
}

async fn write<A: Stored>(pool: PgPool, id: String, version: i64, last: EventId, state: Value) {
    let written = sqlx::query(
        "INSERT INTO snapshots (aggregate_type, aggregate_id, state_version, sequence, event_id, state, taken_at)
         VALUES ($1, $2, $3, $4, $5, $6, now())
         ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
            SET state_version = EXCLUDED.state_version, sequence = EXCLUDED.sequence,
                event_id = EXCLUDED.event_id, state = EXCLUDED.state, taken_at = EXCLUDED.taken_at
          WHERE snapshots.state_version < EXCLUDED.state_version
             OR (snapshots.state_version = EXCLUDED.state_version AND snapshots.sequence < EXCLUDED.sequence)",
    )
    .bind(A::TYPE)
    .bind(&id)
    .bind(A::STATE_VERSION)
    .bind(version)
    .bind(last.0)
    .bind(state)
    .execute(&pool)
    .await;
    if let Err(error) = written {
        tracing::debug!(%error, "no snapshot of {} {id} was kept", A::TYPE);
    }
}

fn event(row: PgRow) -> sqlx::Result<StoredEvent> {
    event_of(row.try_get("aggregate_type")?, row.try_get("aggregate_id")?, &row)
}

fn event_of(aggregate_type: &str, aggregate_id: &str, row: &PgRow) -> sqlx::Result<StoredEvent> {
    Ok(StoredEvent {
        position: row.try_get("position")?,
        event_id: EventId(row.try_get("event_id")?),
        recorded_at: row.try_get("recorded_at")?,
        team_id: row.try_get::<Option<Uuid>, _>("team_id")?.map(Into::into),
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: aggregate_id.to_owned(),
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get::<String, _>("payload")?.into(),
        metadata: row.try_get::<String, _>("metadata")?.into(),
    })
}
