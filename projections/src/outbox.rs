//! The outbox: what is sent to endpoints, each delivery once in the log of deliveries and once as work, stored together.
//! It is sent at least once, with the same id.
//!
//! Invariant: endpoints take turns. Of an endpoint at most [`LANES`] deliveries are under way, and what one has waiting
//! is looked at by nobody who looks for something to do.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ids::{EndpointId, EventId, OutboundId, TeamId};
use domain::sealed::KeyOwner;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::work::{self, Claimed, IS_LOST, TAKE, TAKEN};

/// The process whose rows of work deliveries are.
pub const PROCESS: &str = "send_delivery";

/// How many deliveries to one endpoint are under way at a time.
const LANES: u128 = 4;

/// Names the ids of deliveries; stored in every one, so never changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x51f0_3d29_7e64_4a0b_93d5_0c8b_2a6e_4f17);

/// Why something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Cause {
    /// It happened.
    Event,
    /// Somebody wants to see whether it arrives.
    Ping,
    /// Somebody wants it to be sent once more.
    Redelivery,
    /// Somebody wants what has happened.
    Replay,
}

/// Something to be sent. It is the payload of its row of work, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// To whom.
    pub endpoint: EndpointId,
    /// Whose that is.
    pub team: TeamId,
    /// What it is: the same of an endpoint is the same delivery.
    pub key: String,
    /// The event that is told: the id of the message.
    pub event: EventId,
    /// Its position.
    pub position: i64,
    /// Its type.
    pub event_type: String,
    /// Why it is sent.
    pub cause: Cause,
    /// The first cause of the chain.
    pub correlation: String,
}

impl Message {
    /// The id of its delivery.
    pub fn id(&self) -> OutboundId {
        Uuid::new_v5(&NAMESPACE, format!("{}/{}", self.endpoint, self.key).as_bytes()).into()
    }

    fn lane(&self) -> String {
        format!("{PROCESS}:{}/{}", self.endpoint, self.id().0.as_u128() % LANES)
    }
}

/// A delivery, as its endpoint's people see it.
#[derive(Clone, Debug, FromRow)]
pub struct DeliveryRow {
    /// Its id.
    pub id: Uuid,
    /// The how-manieth it is; what was made later has a higher one.
    pub number: i64,
    /// The event that is told.
    pub event_id: Uuid,
    /// Its position.
    pub position: i64,
    /// Its type.
    pub event_type: String,
    /// Why it is sent.
    pub cause: String,
    /// `pending`, `delivered`, `failed` (a dead letter) or `dropped` (its endpoint was disabled).
    pub status: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Since when it is to be sent.
    pub created_at: DateTime<Utc>,
    /// When it was tried last.
    pub last_attempt_at: Option<DateTime<Utc>>,
    /// When it is tried next.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// What the last try was answered.
    pub http_status: Option<i32>,
    /// Why the last try was in vain.
    pub error: Option<String>,
    /// The beginning of the last answer.
    pub answer: Option<String>,
}

/// How a try went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Try {
    /// What was answered.
    pub http_status: Option<u16>,
    /// Why it was in vain; none when it was not.
    pub error: Option<String>,
    /// The beginning of the answer.
    pub answer: Option<String>,
    /// How long the endpoint wants to be left alone with it.
    pub pause: Option<Duration>,
}

/// Stores what is to be sent, each with its row of work, in one statement; what is there already is left as it is.
pub async fn store(db: &mut PgConnection, messages: &[Message]) -> sqlx::Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let column = |text: fn(&Message) -> String| messages.iter().map(text).collect::<Vec<String>>();
    let ids = |id: fn(&Message) -> Uuid| messages.iter().map(id).collect::<Vec<Uuid>>();
    sqlx::query(
        "WITH given AS (
             SELECT id, endpoint_id, team_id, key, event_id, position, event_type, cause, lane, payload, correlation, place
               FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[],
                                  $7::text[], $8::text[], $9::text[], $10::text[], $11::text[]) WITH ORDINALITY
                    AS it (id, endpoint_id, team_id, key, event_id, position, event_type, cause, lane, payload,
                           correlation, place)
         ),
         new AS (
             INSERT INTO endpoint_deliveries (id, endpoint_id, team_id, key, event_id, position, event_type, cause)
             SELECT id, endpoint_id, team_id, key, event_id, position, event_type, cause FROM given ORDER BY place
             ON CONFLICT DO NOTHING RETURNING id
         )
         INSERT INTO work (id, process, key, lane, payload, run_at, cause_event, cause_position, correlation,
                           created_at)
         SELECT id, $12, id::text, lane, payload::jsonb, now(), event_id, position, correlation, now()
           FROM given JOIN new USING (id) ON CONFLICT DO NOTHING",
    )
    .bind(ids(|it| it.id().0))
    .bind(ids(|it| it.endpoint.0))
    .bind(ids(|it| it.team.0))
    .bind(column(|it| it.key.clone()))
    .bind(ids(|it| it.event.0))
    .bind(messages.iter().map(|it| it.position).collect::<Vec<i64>>())
    .bind(column(|it| it.event_type.clone()))
    .bind(column(|it| crate::row::stored(&it.cause)))
    .bind(column(Message::lane))
    .bind(column(|it| serde_json::to_string(it).expect("it serialises")))
    .bind(column(|it| it.correlation.clone()))
    .bind(PROCESS)
    .execute(db)
    .await
    .map(drop)
}

/// Stores a delivery anew whose work came here without it, as with an import of the log.
pub async fn restore(pool: &PgPool, message: &Message) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO endpoint_deliveries (id, endpoint_id, team_id, key, event_id, position, event_type, cause)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8
          WHERE NOT EXISTS (SELECT FROM data_keys WHERE owner = $9 AND destroyed_at IS NOT NULL)
         ON CONFLICT DO NOTHING",
    )
    .bind(message.id().0)
    .bind(message.endpoint.0)
    .bind(message.team.0)
    .bind(&message.key)
    .bind(message.event.0)
    .bind(message.position)
    .bind(&message.event_type)
    .bind(crate::row::stored(&message.cause))
    .bind(KeyOwner::Endpoint(message.endpoint).to_string())
    .execute(pool)
    .await
    .map(drop)
}

/// Takes the delivery whose time has come first, of the lanes in which none is under way. From lane to lane by the index:
/// how much waits in one makes nothing slower.
pub async fn claim(pool: &PgPool, worker: &str, lease: Duration) -> sqlx::Result<Option<Claimed>> {
    let mut db = pool.begin().await?;
    // Each look sees what the one before has taken.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('queue/send_delivery', 0))")
        .execute(&mut *db)
        .await?;
    let claimed = sqlx::query(&format!(
        "WITH RECURSIVE lanes AS (
             (SELECT lane FROM work WHERE process = 'send_delivery' AND state = 'ready' ORDER BY lane LIMIT 1)
             UNION ALL
             SELECT (SELECT w.lane FROM work w
                      WHERE w.process = 'send_delivery' AND w.state = 'ready' AND w.lane > lanes.lane
                      ORDER BY w.lane LIMIT 1)
               FROM lanes WHERE lanes.lane IS NOT NULL
         ),
         lost AS (
             SELECT id, true AS is_lost FROM work w
              WHERE process = 'send_delivery' AND state = 'running' AND {IS_LOST} ORDER BY lease_until, id LIMIT 1
         ),
         due AS (
             SELECT w.id, w.run_at, w.cause_position FROM lanes CROSS JOIN LATERAL (
                 SELECT id, run_at, cause_position FROM work
                  WHERE process = 'send_delivery' AND state = 'ready' AND lane = lanes.lane AND run_at <= now()
                  ORDER BY run_at, cause_position LIMIT 1) w
              WHERE NOT EXISTS (SELECT FROM work o WHERE o.lane = lanes.lane AND o.state = 'running')
         ),
         choice AS (
             SELECT id, is_lost FROM lost
              UNION ALL
             (SELECT id, false FROM due WHERE NOT EXISTS (SELECT FROM lost) ORDER BY run_at, cause_position, id LIMIT 1)
         )
         UPDATE work w SET {TAKE}
           FROM choice
          WHERE w.id = choice.id
            AND CASE WHEN is_lost THEN w.state = 'running' AND {IS_LOST} ELSE w.state = 'ready' END
         RETURNING {TAKEN}"
    ))
    .bind(worker)
    .bind(lease)
    .bind(work::LOST)
    .try_map(|row| work::claimed(&row))
    .fetch_optional(&mut *db)
    .await?;
    db.commit().await?;
    Ok(claimed)
}

/// Whether a delivery is still to be sent.
pub async fn is_pending(pool: &PgPool, id: OutboundId) -> sqlx::Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM endpoint_deliveries WHERE id = $1 AND status = 'pending')";
    sqlx::query_scalar(query).bind(id.0).fetch_one(pool).await
}

/// Writes down how a try went; one that was not in vain settles it. Whoever has lost the work says nothing.
pub async fn tried(pool: &PgPool, id: OutboundId, fence: i64, how: &Try) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE endpoint_deliveries SET attempts = attempts + 1, last_attempt_at = now(), http_status = $3, error = $4,
                answer = $5, status = CASE WHEN $4 IS NULL THEN 'delivered' ELSE status END,
                settled_at = CASE WHEN $4 IS NULL THEN now() END
          WHERE id = $1 AND status = 'pending' AND EXISTS (SELECT FROM work WHERE work.id = $1 AND fence = $2)",
    )
    .bind(id.0)
    .bind(fence)
    .bind(how.http_status.map(i32::from))
    .bind(&how.error)
    .bind(&how.answer)
    .execute(pool)
    .await
    .map(drop)
}

/// It is not sent any more: `failed` is a dead letter, `dropped` is what nobody wants now.
pub async fn end(pool: &PgPool, id: OutboundId, status: &str, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE endpoint_deliveries SET status = $2, settled_at = now(), error = coalesce(error, $3)
          WHERE id = $1 AND status = 'pending'",
    )
    .bind(id.0)
    .bind(status)
    .bind(why)
    .execute(pool)
    .await
    .map(drop)
}

/// Whether nothing has arrived at an endpoint since this delivery was to be sent first.
pub async fn nothing_arrived_since(pool: &PgPool, id: OutboundId) -> sqlx::Result<bool> {
    let query = "SELECT NOT EXISTS (SELECT FROM endpoint_deliveries d
                                     WHERE d.endpoint_id = it.endpoint_id AND d.status = 'delivered'
                                       AND d.settled_at >= it.created_at)
                   FROM endpoint_deliveries it WHERE it.id = $1";
    Ok(sqlx::query_scalar(query).bind(id.0).fetch_optional(pool).await?.unwrap_or(false))
}

/// Nothing that waits is sent to this endpoint.
pub async fn drop_waiting(db: &mut PgConnection, endpoint: EndpointId) -> sqlx::Result<()> {
    sqlx::query(
        "WITH dropped AS (
             UPDATE endpoint_deliveries SET status = 'dropped', settled_at = now(),
                    error = coalesce(error, 'the endpoint was disabled')
              WHERE endpoint_id = $1 AND status = 'pending' RETURNING id
         )
         UPDATE work SET state = 'done', finished_at = now() FROM dropped WHERE work.id = dropped.id AND state = 'ready'",
    )
    .bind(endpoint.0)
    .execute(db)
    .await
    .map(drop)
}

/// Destroys the keys of endpoints, and forgets what was sent to them.
pub async fn erase(db: &mut PgConnection, endpoints: &[EndpointId]) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = endpoints.iter().map(|id| id.0).collect();
    forget_endpoints(db, &ids).await?;
    sqlx::query("SELECT erase_endpoints($1)").bind(&ids).execute(db).await.map(drop)
}

/// Forgets what was sent to endpoints that are no more; what waits is not sent.
async fn forget_endpoints(db: &mut PgConnection, endpoints: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query(
        "WITH gone AS (DELETE FROM endpoint_deliveries WHERE endpoint_id = ANY($1) RETURNING id)
         UPDATE work SET state = 'done', finished_at = now() FROM gone WHERE work.id = gone.id AND state = 'ready'",
    )
    .bind(endpoints)
    .execute(db)
    .await
    .map(drop)
}

/// Forgets what was settled before a time, with its work.
pub async fn forget_before(pool: &PgPool, time: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "WITH gone AS (DELETE FROM endpoint_deliveries WHERE settled_at < $1 RETURNING id)
         DELETE FROM work USING gone WHERE work.id = gone.id AND state IN ('done', 'dead')",
    )
    .bind(time)
    .execute(pool)
    .await
    .map(drop)
}

const SHOWN: &str =
    "d.id, d.number, d.event_id, d.position, d.event_type, d.cause, d.status, d.attempts, d.created_at,
                     d.last_attempt_at, CASE WHEN d.status = 'pending' THEN w.run_at END AS next_attempt_at,
                     d.http_status, d.error, d.answer
                FROM endpoint_deliveries d LEFT JOIN work w ON w.id = d.id";

/// The deliveries to an endpoint, newest first, before the `before`th; only those with a status, when one is given.
pub async fn of_endpoint(
    pool: &PgPool,
    endpoint: EndpointId,
    status: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<DeliveryRow>> {
    let query = format!(
        "SELECT {SHOWN} WHERE d.endpoint_id = $1 AND ($2::text IS NULL OR d.status = $2)
                          AND ($3::bigint IS NULL OR d.number < $3)
          ORDER BY d.number DESC LIMIT $4"
    );
    sqlx::query_as(&query).bind(endpoint.0).bind(status).bind(before).bind(limit).fetch_all(pool).await
}

/// One delivery to an endpoint.
pub async fn find(
    db: impl sqlx::PgExecutor<'_>,
    endpoint: EndpointId,
    id: OutboundId,
) -> sqlx::Result<Option<DeliveryRow>> {
    let query = format!("SELECT {SHOWN} WHERE d.endpoint_id = $1 AND d.id = $2");
    sqlx::query_as(&query).bind(endpoint.0).bind(id.0).fetch_optional(db).await
}
