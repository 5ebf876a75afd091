//! `endpoint.disabled`, because it is gone or fails for days → a mail to the owners of its team.

use async_trait::async_trait;
use commands::VaultError;
use domain::endpoint::{Endpoint, EndpointEvent, WhyDisabled};
use domain::fact::{Fact, Recorded};
use domain::ids::EndpointId;
use domain::sealed::purpose;
use domain::team::MemberRole;
use serde::{Deserialize, Serialize};

use crate::letter::{Letter, MAIL_TRIES};
use crate::{Due, Job, JobError, Process, Work, World};

/// Tells owners that nothing is sent any more.
pub(crate) struct WarnOfEndpoint;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    endpoint: EndpointId,
    why: WhyDisabled,
}

#[async_trait]
impl Process for WarnOfEndpoint {
    fn name(&self) -> &'static str {
        "warn_of_endpoint"
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Endpoint(endpoint, EndpointEvent::EndpointDisabled { why }) = fact else { return None };
        if *why == WhyDisabled::Asked {
            return None;
        }
        Some(Job {
            key: format!("{endpoint}/{}", recorded.position),
            lane: format!("warn_of_endpoint:{endpoint}"),
            payload: serde_json::to_value(Payload { endpoint: *endpoint, why: *why }).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { endpoint, why } = work.payload()?;
        world.caught_up(work).await?;
        let it = world.commands.load::<Endpoint>(endpoint).await?.aggregate;
        let Some(living) = it.living() else { return Ok(()) };
        let name = &living.settings.name;
        let why = match why {
            WhyDisabled::Gone => "It has answered that it is gone (HTTP 410).",
            _ => "Nothing could be delivered to it for three days.",
        };
        for member in projections::teams::members(&world.pool, living.team_id).await? {
            if member.role != MemberRole::Owner {
                continue;
            }
            let Some(user) = projections::users::find(&world.pool, member.user_id).await? else { continue };
            let to = match world.commands.vault().open_sealed(&user.email, purpose::USER_EMAIL).await {
                Err(VaultError::Erased) => continue,
                to => to?.expose_str().unwrap_or_default().to_owned(),
            };
            if to.is_empty() {
                continue;
            }
            let letter = Letter::new(format!("Nothing is sent to {name} any more"))
                .say(format!("Nothing is sent to the endpoint {name} on {} any more. {why}", world.public_url))
                .say("Enable it when it works again: it is then told of what happens from then on, and what was missed \
                      can be replayed.");
            world.email.send(&letter.to(to, work, &format!("endpoint-{}", member.user_id))).await?;
        }
        Ok(())
    }

    fn tries(&self) -> i32 {
        MAIL_TRIES
    }
}
