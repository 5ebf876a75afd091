//! What happens in a team → a delivery for each of its endpoints that wants to hear of it.
//!
//! Which those are is read from the log, as of the event: an endpoint is told of what happens after it was made, however
//! far anything lags. Deliveries are stored in the transaction that moves the checkpoint, so none is lost and none is
//! there twice.

mod message;
mod replay;
mod results;
mod send;
mod warn;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use cqrs_es::Aggregate;
use domain::endpoint::{Endpoint, EndpointEvent, Kind};
use domain::fact::{Fact, Recorded, StoredEvent, kind};
use domain::ids::{EndpointId, ProjectId, TeamId};
use domain::team::TeamEvent;
use projections::endpoints;
use projections::feed::Consumer;
use projections::outbox::{self, Cause, Message};
use projections::parked::Grain;
use projections::{audit_trail, log};
use sqlx::PgConnection;

pub(crate) use replay::ReplayToEndpoint;
pub(crate) use send::SendDelivery;
pub(crate) use warn::WarnOfEndpoint;

/// Stores what is to be sent. It reads the log in the name of the process that sends, which is woken by it.
pub(crate) struct FanOut;

#[async_trait]
impl Consumer for FanOut {
    fn name(&self) -> &'static str {
        outbox::PROCESS
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        ""
    }

    fn table_names(&self) -> &'static [&'static str] {
        &[]
    }

    fn grain(&self) -> Grain {
        Grain::Team
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        recorded.team_id.is_some()
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        self.apply_all(db, &[recorded]).await
    }

    async fn apply_all(&self, db: &mut PgConnection, batch: &[&Recorded]) -> sqlx::Result<()> {
        let Some(last) = batch.last() else { return Ok(()) };
        let teams: BTreeSet<TeamId> = batch.iter().filter_map(|recorded| recorded.team_id).collect();
        let teams: Vec<TeamId> = teams.into_iter().collect();
        let changes = endpoints::changes(db, &teams, last.position).await?;
        let (mut watchers, mut messages) = (Watchers::new(changes), Vec::new());
        for recorded in batch {
            watchers.go_to(recorded.position)?;
            messages.extend(watchers.told(db, recorded).await?);
            if let Some(decree) = Decree::of(recorded, &watchers) {
                // What was stored before is a part of what it is about.
                outbox::store(db, &std::mem::take(&mut messages)).await?;
                decree.carry_out(db, recorded).await?;
            }
        }
        outbox::store(db, &messages).await
    }
}

/// The endpoints of some teams, as they are at a position.
struct Watchers {
    changes: std::iter::Peekable<std::vec::IntoIter<StoredEvent>>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Those that were deleted, too.
    of_teams: BTreeMap<TeamId, BTreeSet<EndpointId>>,
}

impl Watchers {
    fn new(changes: Vec<StoredEvent>) -> Self {
        let changes = changes.into_iter().peekable();
        Self { changes, endpoints: BTreeMap::new(), of_teams: BTreeMap::new() }
    }

    fn go_to(&mut self, position: i64) -> sqlx::Result<()> {
        while let Some(change) = self.changes.next_if(|change| change.position <= position) {
            let change = change.read().map_err(|error| sqlx::Error::Decode(error.into()))?;
            for fact in change.facts.iter() {
                let Fact::Endpoint(id, event) = fact else { continue };
                if let Some(team) = change.team_id {
                    self.of_teams.entry(team).or_default().insert(*id);
                }
                self.endpoints.entry(*id).or_default().apply(event.clone());
            }
        }
        Ok(())
    }

    /// What an event is for those who want to hear of it. Nobody is told what happens to himself: that would be told of
    /// what he is told.
    async fn told(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<Vec<Message>> {
        let Some(ids) = recorded.team_id.and_then(|team| self.of_teams.get(&team)) else { return Ok(vec![]) };
        let mut about: Option<Option<ProjectId>> = None;
        let mut messages = Vec::new();
        for id in ids {
            let Some(living) = self.endpoints[id].living().filter(|living| living.enabled) else { continue };
            let is_own = recorded.aggregate_type == kind::ENDPOINT && recorded.aggregate_id == id.to_string();
            if is_own || !living.settings.wants(&recorded.event_type) {
                continue;
            }
            let project = match about {
                Some(project) => project,
                None if living.settings.projects.is_empty() => None,
                None => *about.insert(project_of(db, recorded).await?),
            };
            if living.hears(&recorded.event_type, project) {
                // A server that is started again serves again: that is no news.
                let key = match living.settings.target.kind() {
                    Kind::Webhook => recorded.event_id.to_string(),
                    Kind::Slack | Kind::Email => format!("{}/{}", recorded.aggregate_id, recorded.event_type),
                };
                messages.push(message(recorded, *id, living.team_id, key, Cause::Event));
            }
        }
        Ok(messages)
    }
}

fn message(recorded: &Recorded, endpoint: EndpointId, team: TeamId, key: String, cause: Cause) -> Message {
    Message {
        endpoint,
        team,
        key,
        event: recorded.event_id,
        position: recorded.position,
        event_type: recorded.event_type.clone(),
        cause,
        correlation: recorded.envelope().correlation.clone(),
    }
}

/// The project that an event belongs to, as the audit trail has it. Builds and deployments name it when they begin.
async fn project_of(db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<Option<ProjectId>> {
    if let Some(project) = recorded.facts.iter().find_map(audit_trail::project_of) {
        return Ok(Some(project));
    }
    if ![kind::BUILD, kind::DEPLOYMENT].contains(&recorded.aggregate_type.as_str()) {
        return Ok(None);
    }
    let first = log::first(db, &recorded.aggregate_type, &recorded.aggregate_id).await?;
    let first = first.and_then(|first| first.read().ok());
    Ok(first.and_then(|first| first.facts.iter().find_map(audit_trail::project_of)))
}

/// What an event decides about what is sent.
enum Decree {
    Ping(EndpointId),
    Again(EndpointId, domain::ids::OutboundId),
    Drop(EndpointId),
    Erase(Vec<EndpointId>),
}

impl Decree {
    fn of(recorded: &Recorded, watchers: &Watchers) -> Option<Self> {
        recorded.facts.iter().find_map(|fact| match fact {
            Fact::Endpoint(id, event) => match event {
                EndpointEvent::EndpointPinged {} => Some(Self::Ping(*id)),
                EndpointEvent::EndpointRedeliveryRequested { delivery_id } => {
                    Some(Self::Again(*id, *delivery_id))
                }
                EndpointEvent::EndpointDisabled { .. } => Some(Self::Drop(*id)),
                EndpointEvent::EndpointDeleted {} => Some(Self::Erase(vec![*id])),
                _ => None,
            },
            Fact::Team(team, TeamEvent::TeamDeleted { .. }) => {
                let all = watchers.of_teams.get(team)?;
                Some(Self::Erase(all.iter().copied().collect()))
            }
            _ => None,
        })
    }

    async fn carry_out(self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let Some(team) = recorded.team_id else { return Ok(()) };
        match self {
            Self::Ping(id) => {
                let key = recorded.event_id.to_string();
                outbox::store(db, &[message(recorded, id, team, key, Cause::Ping)]).await
            }
            Self::Again(id, delivery) => {
                let Some(sent) = outbox::find(&mut *db, id, delivery).await? else { return Ok(()) };
                let key = format!("redelivery/{}", recorded.event_id);
                let again = Message {
                    event: sent.event_id.into(),
                    position: sent.position,
                    event_type: sent.event_type,
                    ..message(recorded, id, team, key, Cause::Redelivery)
                };
                outbox::store(db, &[again]).await
            }
            Self::Drop(id) => outbox::drop_waiting(db, id).await,
            Self::Erase(ids) => outbox::erase(db, &ids).await,
        }
    }
}
