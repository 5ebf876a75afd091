//! cqrs-es's own contract, so that its framework and test kit drive the same log. The command bus uses the store's
//! inherent methods, which say more about how an append ended.

use std::collections::HashMap;

use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use domain::envelope::Actor;
use domain::fact::Stored;

use super::{Change, Loaded, Store, stream};
use crate::context::Context;
use crate::outcome::{CommandError, StoreError};

impl<A> AggregateContext<A> for Loaded<A>
where
    A: Aggregate,
{
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl<A: Stored> EventStore<A> for Store {
    type AC = Loaded<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let rows = stream::events(&self.pool, A::TYPE, aggregate_id, 0).await;
        let rows = rows.map_err(|error| database(error.into()))?;
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
        let (aggregate_id, version) = (context.id.clone(), context.version);
        let change = Change::new::<A>(self, id, context, &events, &command, &how).await.map_err(database)?;
        self.append::<A::Error>(vec![change], None).await.map_err(|error| match error {
            CommandError::Conflict { .. } => AggregateError::AggregateConflict,
            CommandError::Store(error) => database(error),
            other => AggregateError::UnexpectedError(other.to_string().into()),
        })?;
        let first = usize::try_from(version).expect("versions count from 0") + 1;
        Ok(events
            .into_iter()
            .zip(first..)
            .map(|(payload, sequence)| EventEnvelope {
                aggregate_id: aggregate_id.clone(),
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
