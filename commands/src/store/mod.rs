//! The event store: cqrs-es's contract on the log's own append function.
//!
//! Invariant: nothing is appended but through [`appender`], and nothing is read but through upcasting.

mod appender;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use cqrs_es::{Aggregate, AggregateContext, AggregateError, DomainEvent, EventEnvelope, EventStore};
use domain::claim::{Claim, ClaimAct};
use domain::envelope::{Actor, Envelope};
use domain::fact::{Stored, StoredEvent};
use domain::ids::EventId;
use domain::sealed::KeyOwner;
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::context::{Context, IdempotencyKey};
use crate::outcome::{CommandError, Receipt, StoreError};
use crate::vault::Vault;

pub use appender::Appender;

/// The largest payload the log takes, in bytes of JSON.
const MAX_PAYLOAD: usize = 64 * 1024;

/// Loads aggregates and appends their events.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    appender: Appender,
    vault: Arc<Vault>,
}

/// An aggregate as it was read.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    /// Its id.
    pub id: String,
    /// Its state.
    pub aggregate: A,
    /// Number of its last event; 0 when there is none.
    pub version: i64,
    /// Position of its last event; 0 when there is none.
    pub position: i64,
}

impl Store {
    /// A store on this log.
    pub fn new(pool: PgPool, appender: Appender, vault: Arc<Vault>) -> Self {
        Self { pool, appender, vault }
    }

    /// Folds an aggregate from its stream.
    pub async fn load<A: Stored>(&self, id: impl Display) -> Result<Loaded<A>, StoreError> {
        let id = id.to_string();
        let mut loaded = Loaded { aggregate: A::default(), version: 0, position: 0, id };
        for row in self.stream::<A>(&loaded.id).await? {
            loaded.version = row.sequence;
            loaded.position = row.position;
            loaded.aggregate.apply(row.event::<A>()?);
        }
        Ok(loaded)
    }

    /// What the first command of this key made; an error when the key was used for another request.
    pub(crate) async fn find_receipt<E: std::error::Error + 'static>(
        &self,
        key: &IdempotencyKey,
    ) -> Result<Option<Receipt>, CommandError<E>> {
        let row = sqlx::query(
            "SELECT request_hash, aggregate_id, version, position FROM idempotency_keys WHERE scope = $1 AND key = $2",
        )
        .bind(&key.scope)
        .bind(&key.key)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(None) };
        if row.get::<String, _>("request_hash") != key.request_hash {
            return Err(CommandError::KeyReused);
        }
        Ok(Some(Receipt {
            aggregate_id: row.get("aggregate_id"),
            version: row.get("version"),
            position: row.get("position"),
            repeated: true,
        }))
    }

    /// The first of these names that somebody has already; for dry runs.
    pub(crate) async fn find_taken<A: Stored>(
        &self,
        id: A::Id,
        events: &[A::Event],
    ) -> Result<Option<Claim>, StoreError> {
        let claims: Vec<_> = events.iter().flat_map(|event| A::claims(id, event)).collect();
        let freed = |scope, key: &str| {
            claims.iter().any(|c| c.act == ClaimAct::Free && c.scope == scope && c.key == key)
        };
        for claim in claims.iter().filter(|c| c.act == ClaimAct::Take && !freed(c.scope, &c.key)) {
            let taken: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM claims WHERE scope = $1 AND key = $2)")
                    .bind(claim.scope.as_str())
                    .bind(&claim.key)
                    .fetch_one(&self.pool)
                    .await?;
            if taken {
                return Ok(Some(claim.clone()));
            }
        }
        Ok(None)
    }

    /// Appends an aggregate's new events, with the names they take and the caller's key, all or nothing.
    pub(crate) async fn append<A: Stored>(
        &self,
        id: A::Id,
        version: i64,
        events: &[A::Event],
        command: &str,
        context: &Context,
    ) -> Result<Receipt, CommandError<A::Error>> {
        let mut rows = Vec::with_capacity(events.len());
        for (event, sequence) in events.iter().zip(version + 1..) {
            rows.push(self.row::<A>(id, sequence, event, command, context).await?);
        }
        let claims: Vec<Value> = events
            .iter()
            .flat_map(|event| A::claims(id, event))
            .map(|claim| {
                let act = if claim.act == ClaimAct::Take { "take" } else { "free" };
                json!({ "act": act, "scope": claim.scope.as_str(), "key": claim.key })
            })
            .collect();
        let key = context
            .key
            .as_ref()
            .map(|key| json!({ "scope": key.scope, "key": key.key, "hash": key.request_hash }));
        let append = json!({ "key": key, "claims": claims, "events": rows });
        let last = version + i64::try_from(events.len()).expect("a command has few events");
        self.appender.append(append).await?.into_receipt(id.to_string(), last)
    }

    async fn row<A: Stored>(
        &self,
        id: A::Id,
        sequence: i64,
        event: &A::Event,
        command: &str,
        context: &Context,
    ) -> Result<Value, StoreError> {
        let payload = serde_json::to_value(event).expect("events serialise");
        let bytes = payload.to_string().len();
        if bytes > MAX_PAYLOAD {
            return Err(StoreError::TooLarge { bytes });
        }
        let event_id = EventId(Uuid::now_v7());
        let envelope = self.envelope(event_id, command, context).await?;
        Ok(json!({
            "type": A::TYPE,
            "id": id.to_string(),
            "sequence": sequence,
            "event_type": event.event_type(),
            "event_version": event.event_version(),
            "payload": payload,
            "metadata": envelope,
            "event_id": event_id,
            "recorded_at": context.at,
            "team_id": context.team_id,
        }))
    }

    async fn envelope(
        &self,
        event_id: EventId,
        command: &str,
        context: &Context,
    ) -> Result<Envelope, StoreError> {
        let owner = match (&context.actor, &context.on_behalf_of) {
            (Actor::User(id), _) | (_, Some(Actor::User(id))) => KeyOwner::User(*id),
            _ => KeyOwner::System,
        };
        let note = async |field: &str, text: &Option<String>| match text {
            Some(text) => {
                let aad = format!("{event_id}|{field}");
                self.vault.seal_note(owner, &aad, text, context.at).await.map(Some)
            }
            None => Ok(None),
        };
        let request = format!("request:{}", context.request_id);
        Ok(Envelope {
            actor: context.actor.clone(),
            on_behalf_of: context.on_behalf_of.clone(),
            request_id: context.request_id.clone(),
            command: command.to_owned(),
            causation: context.causation.map_or_else(|| request.clone(), |id| format!("event:{id}")),
            correlation: context.correlation.clone().unwrap_or(request),
            source_ip: note("source_ip", &context.source_ip).await?,
            user_agent: note("user_agent", &context.user_agent).await?,
            traceparent: context.traceparent.clone(),
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    async fn stream<A: Aggregate>(&self, id: &str) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT position, event_id, recorded_at, team_id, aggregate_type, aggregate_id, sequence, event_type,
                    event_version, payload::text, metadata::text
               FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence",
        )
        .bind(A::TYPE)
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| StoredEvent {
                position: row.get("position"),
                event_id: EventId(row.get("event_id")),
                recorded_at: row.get("recorded_at"),
                team_id: row.get::<Option<Uuid>, _>("team_id").map(Into::into),
                aggregate_type: row.get("aggregate_type"),
                aggregate_id: row.get("aggregate_id"),
                sequence: row.get("sequence"),
                event_type: row.get("event_type"),
                event_version: row.get("event_version"),
                payload: row.get::<String, _>("payload").into(),
                metadata: row.get::<String, _>("metadata").into(),
            })
            .collect())
    }
}

impl<A> AggregateContext<A> for Loaded<A>
where
    A: Aggregate,
{
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

/// cqrs-es's own contract, so that its framework and test kit drive the same log. The command bus uses the
/// inherent methods, which say more about how an append ended.
impl<A: Stored> EventStore<A> for Store {
    type AC = Loaded<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let rows = self.stream::<A>(aggregate_id).await.map_err(database)?;
        rows.iter()
            .map(|row| {
                Ok(EventEnvelope {
                    aggregate_id: row.aggregate_id.clone(),
                    sequence: usize::try_from(row.sequence).expect("sequences count from 1"),
                    payload: row.event::<A>().map_err(|e| AggregateError::DeserializationError(e.into()))?,
                    metadata: row.metadata.envelope().to_map(),
                })
            })
            .collect()
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<Loaded<A>, AggregateError<A::Error>> {
        self.load(aggregate_id).await.map_err(database)
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Loaded<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        if events.is_empty() {
            return Ok(vec![]);
        }
        let id: A::Id = context
            .id
            .parse()
            .map_err(|_| AggregateError::UnexpectedError(format!("{:?} is no id", context.id).into()))?;
        let request_id = metadata.get("request_id").cloned().unwrap_or_default();
        let actor = metadata.get("actor").and_then(|actor| actor.parse().ok()).unwrap_or(Actor::System);
        let how = Context::bare(actor, request_id, chrono::Utc::now());
        let command = metadata.get("command").cloned().unwrap_or_default();
        self.append::<A>(id, context.version, &events, &command, &how).await.map_err(
            |error| match error {
                CommandError::Conflict { .. } => AggregateError::AggregateConflict,
                CommandError::Store(error) => database(error),
                other => AggregateError::UnexpectedError(other.to_string().into()),
            },
        )?;
        let first = usize::try_from(context.version).expect("versions count from 0") + 1;
        Ok(events
            .into_iter()
            .zip(first..)
            .map(|(payload, sequence)| EventEnvelope {
                aggregate_id: context.id.clone(),
                sequence,
                payload,
                metadata: metadata.clone(),
            })
            .collect())
    }
}

fn database<E: std::error::Error>(error: StoreError) -> AggregateError<E> {
    match error {
        StoreError::Unreadable(error) => AggregateError::DeserializationError(error.into()),
        other => AggregateError::DatabaseConnectionError(other.into()),
    }
}
