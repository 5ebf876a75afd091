//! What one command adds to one aggregate, ready to be appended, alone or with others.

use cqrs_es::DomainEvent;
use domain::claim::Claim;
use domain::envelope::{Actor, Envelope};
use domain::fact::Stored;
use domain::ids::EventId;
use domain::sealed::KeyOwner;
use uuid::Uuid;

use super::append::{Append, NewEvent, OwnedClaim, Stream};
use super::{Loaded, Store};
use crate::context::Context;
use crate::outcome::StoreError;

/// The largest payload the log takes, in bytes of JSON.
const MAX_PAYLOAD: usize = 64 * 1024;

/// Told the position of the append's first event, or that it is not known to be in.
pub(super) type After = Box<dyn FnOnce(&Store, Option<i64>) + Send>;

/// New events of one aggregate.
pub(crate) struct Change {
    stream: Stream,
    claims: Vec<OwnedClaim>,
    events: Vec<NewEvent>,
    remember: After,
}

impl Change {
    /// The events that a command to `after` has made true; its state has them already, its version does not.
    pub(crate) async fn new<A: Stored>(
        store: &Store,
        id: A::Id,
        after: Loaded<A>,
        events: &[A::Event],
        command: &str,
        context: &Context,
    ) -> Result<Self, StoreError> {
        let aggregate_id = id.to_string();
        let mut rows = Vec::with_capacity(events.len());
        for (event, sequence) in events.iter().zip(after.version + 1..) {
            rows.push(row::<A>(store, &aggregate_id, sequence, event, command, context).await?);
        }
        let claims = events
            .iter()
            .flat_map(|event| A::claims(id, event))
            .map(|claim| OwnedClaim { claim, owner: aggregate_id.clone() })
            .collect();
        let stream = Stream { aggregate_type: A::TYPE, aggregate_id, version: after.version };
        let last = rows.last().map(|row| (row.sequence, row.event_id));
        let remember: After = Box::new(move |store, position| match (position, last) {
            (Some(position), Some((version, last))) => {
                store.keep(Loaded { version, position, last: Some(last), ..after });
            }
            _ => store.cache.forget::<A>(&after.id),
        });
        Ok(Self { stream, claims, events: rows, remember })
    }

    /// The same, and the aggregate is not kept in memory: nobody will ask for it again.
    pub(crate) fn unremembered(self) -> Self {
        Self { remember: Box::new(|_, _| {}), ..self }
    }

    /// Adds it to an append. Answers what is to be called with the position of the append's first event, once it is
    /// known; or the name that is taken twice.
    pub(super) fn add_to(self, append: &mut Append) -> Result<After, Claim> {
        let Self { stream, claims, events, remember } = self;
        let goes_on = append.streams.iter().any(|other| {
            (other.aggregate_type, &other.aggregate_id) == (stream.aggregate_type, &stream.aggregate_id)
        });
        if !goes_on {
            append.streams.push(stream);
        }
        for OwnedClaim { claim, owner } in claims {
            append.claim(claim, owner)?;
        }
        append.events.extend(events);
        let last = i64::try_from(append.events.len()).expect("a command has few events") - 1;
        Ok(Box::new(move |store, first| remember(store, first.map(|first| first + last))))
    }
}

/// Refuses a payload that is larger than the log takes.
pub(crate) fn check_size(payload: &str) -> Result<(), StoreError> {
    let bytes = payload.len();
    if bytes > MAX_PAYLOAD { Err(StoreError::TooLarge { bytes }) } else { Ok(()) }
}

async fn row<A: Stored>(
    store: &Store,
    aggregate_id: &str,
    sequence: i64,
    event: &A::Event,
    command: &str,
    context: &Context,
) -> Result<NewEvent, StoreError> {
    let payload = serde_json::to_string(event).expect("events serialise");
    check_size(&payload)?;
    let event_id = EventId(Uuid::now_v7());
    let envelope = envelope(store, event_id, command, context).await?;
    Ok(NewEvent {
        aggregate_type: A::TYPE,
        aggregate_id: aggregate_id.to_owned(),
        sequence,
        event_type: event.event_type(),
        event_version: event.event_version(),
        payload,
        metadata: serde_json::to_string(&envelope).expect("envelopes serialise"),
        event_id,
        recorded_at: context.at,
        team_id: context.team_id.map(|id| id.0),
    })
}

async fn envelope(
    store: &Store,
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
            store.vault.seal_note(owner, &aad, text, context.at).await.map(Some)
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
