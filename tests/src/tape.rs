//! A read model that only notes which events came by, and raw events for it to note.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::fact::Recorded;
use projections::feed::Consumer;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

/// Notes the position of every event with that of the event before, so that a wrong order shows.
pub struct Tape {
    /// The version of its tables.
    pub version: i32,
    /// The position of an event that it cannot take in; 0 for none.
    pub poison: Arc<AtomicI64>,
    /// The SQLSTATE that everything fails with; empty for none.
    pub trouble: Arc<Mutex<&'static str>>,
    /// Statements that make its table.
    pub tables: &'static str,
}

impl Tape {
    /// One that takes in everything.
    pub fn new() -> Self {
        let tables = "CREATE TABLE tape (position bigint PRIMARY KEY, before bigint NOT NULL)";
        Self { version: 1, poison: Arc::default(), trouble: Arc::default(), tables }
    }

    /// How many events it has noted, and how many of them did not follow the one before.
    pub async fn read(pool: &PgPool) -> (i64, i64) {
        sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE before <> position - 1) FROM tape")
            .fetch_one(pool)
            .await
            .expect("the table is there")
    }
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Consumer for Tape {
    fn name(&self) -> &'static str {
        "tape"
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn tables(&self) -> &'static str {
        self.tables
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["tape"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let trouble = *self.trouble.lock().expect("no holder panics");
        if !trouble.is_empty() {
            let raise = format!("DO $$ BEGIN RAISE 'trouble' USING ERRCODE = '{trouble}'; END $$");
            sqlx::query(&raise).execute(&mut *db).await?;
        }
        if recorded.position == self.poison.load(Ordering::SeqCst) {
            sqlx::query("SELECT 1 / 0").execute(&mut *db).await?;
        }
        sqlx::query("INSERT INTO tape (position, before) SELECT $1, coalesce(max(position), 0) FROM tape")
            .bind(recorded.position)
            .execute(db)
            .await
            .map(drop)
    }
}

/// An event that is the only one of its stream and concerns nobody.
pub fn lone_event() -> Value {
    event("user", &Uuid::now_v7().to_string(), 1, json!({ "type": "user.password_changed" }))
}

/// An event as a row of the log.
pub fn event(aggregate_type: &str, id: &str, sequence: i64, payload: Value) -> Value {
    json!({
        "type": aggregate_type,
        "id": id,
        "sequence": sequence,
        "event_type": payload["type"],
        "event_version": "1",
        "payload": payload,
        "metadata": { "actor": "system", "command": "Test" },
        "event_id": Uuid::now_v7(),
        "recorded_at": "2026-01-01T00:00:00Z",
        "team_id": null,
    })
}

/// Appends events one after the other, in one transaction; answers the last position.
pub async fn append(db: impl PgExecutor<'_>, events: &[Value]) -> i64 {
    sqlx::query_scalar("SELECT append_unseen($1::json)")
        .bind(Value::from(events.to_vec()).to_string())
        .fetch_one(db)
        .await
        .expect("the events are appended")
}

/// Brings a database to the present schema, and lets the server's role append what no command has decided.
pub async fn migrate(pool: &PgPool) {
    commands::migrate(pool).await.expect("migrations apply");
    sqlx::raw_sql(
        "CREATE FUNCTION append_unseen(events json) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
             WITH appended AS (
                 INSERT INTO public.events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                            metadata, event_id, recorded_at, team_id)
                 SELECT e ->> 'type', e ->> 'id', (e ->> 'sequence')::bigint, e ->> 'event_type', e ->> 'event_version',
                        e -> 'payload', e -> 'metadata', (e ->> 'event_id')::uuid, (e ->> 'recorded_at')::timestamptz,
                        (e ->> 'team_id')::uuid
                   FROM json_array_elements(events) e
                 RETURNING position
             ) SELECT max(position) FROM appended
         $$",
    )
    .execute(pool)
    .await
    .expect("the function is new");
}

/// Waits until something is so; fails when it never is.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !so().await {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Positions from 1 without a hole; every stream's numbers in their order.
pub async fn assert_log_is_whole(db: &PgPool) {
    let broken: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT position, row_number() OVER (ORDER BY position) AS place, sequence,
                                      row_number() OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY position) n
                                 FROM events) numbered
          WHERE position <> place OR sequence <> n",
    )
    .fetch_one(db)
    .await
    .expect("the database answers");
    assert_eq!(broken, 0);
}
