//! `endpoint.replay_requested` → a delivery for each event of the past that the endpoint would have been told of, had it
//! been there and as it is now.

use async_trait::async_trait;
use domain::endpoint::{Endpoint, EndpointEvent, Kind};
use domain::fact::{Fact, Recorded};
use domain::ids::EndpointId;
use projections::audit_trail::{self, AuditRow, Reach};
use projections::outbox::{self, Cause, Message};
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Events read at a time.
const BATCH: i64 = 500;

/// Sends the past.
pub(crate) struct ReplayToEndpoint;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    endpoint: EndpointId,
    after: i64,
    upto: i64,
}

#[async_trait]
impl Process for ReplayToEndpoint {
    fn name(&self) -> &'static str {
        "replay_to_endpoint"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Endpoint(endpoint, EndpointEvent::EndpointReplayRequested { after, upto }) = fact else {
            return None;
        };
        let payload = Payload { endpoint: *endpoint, after: *after, upto: *upto };
        Some(Job {
            key: format!("{endpoint}/{}", recorded.position),
            lane: format!("replay_to_endpoint:{endpoint}"),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    /// Begins at the beginning when it is tried again: what is there already is not stored twice.
    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { endpoint, mut after, upto } = work.payload()?;
        world.caught_up(work).await?;
        let loaded = world.commands.load::<Endpoint>(endpoint).await?.aggregate;
        let Some(living) = loaded.living().filter(|living| living.enabled) else {
            return Err(JobError::Lost("the endpoint is disabled".to_owned()));
        };
        let reach = Reach { teams: vec![living.team_id], ..Reach::default() };
        let own = endpoint.to_string();
        while !work.lost.is_cancelled() {
            let rows = audit_trail::between(&world.pool, &reach, &[], (after, upto), BATCH).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.position;
            let heard = |row: &&AuditRow| {
                let is_own = row.resource == "endpoint" && row.resource_id == own;
                !is_own && living.hears(&row.action, row.project_id)
            };
            let message = |row: &AuditRow| Message {
                endpoint,
                team: living.team_id,
                key: match living.settings.target.kind() {
                    Kind::Webhook => format!("replay/{}/{}", work.claimed.cause_event, row.event_id),
                    Kind::Slack | Kind::Email => {
                        format!("replay/{}/{}/{}", work.claimed.cause_event, row.resource_id, row.action)
                    }
                },
                event: row.event_id,
                position: row.position,
                event_type: row.action.clone(),
                cause: Cause::Replay,
                correlation: work.claimed.correlation.clone(),
            };
            let messages: Vec<Message> = rows.iter().filter(heard).map(message).collect();
            outbox::store(&mut *world.pool.acquire().await?, &messages).await?;
        }
        Err(JobError::Retry("the server stops".to_owned()))
    }
}
