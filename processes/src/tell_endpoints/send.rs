//! A delivery → what it tells is sent to its endpoint: again and again for three days, until it is taken.

use std::time::Duration;

use async_trait::async_trait;
use domain::endpoint::{Endpoint, EndpointCommand, Living, Target, WhyDisabled};
use domain::fact::{Fact, Recorded};
use domain::ids::EndpointId;
use projections::outbox::{self, Cause, Message};
use projections::work::Claimed;

use super::message::{self, Sent};
use crate::{Job, JobError, Process, Work, World, worker};

/// How often a delivery is tried: the pauses between so many tries are three days.
const TRIES: i32 = 24;
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// The longest pause that an endpoint may ask for: it cannot put off for ever when it is given up.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Sends deliveries.
pub(crate) struct SendDelivery;

#[async_trait]
impl Process for SendDelivery {
    fn name(&self) -> &'static str {
        outbox::PROCESS
    }

    fn concurrency(&self) -> usize {
        64
    }

    /// Its work is stored with the deliveries.
    fn on(&self, _recorded: &Recorded, _fact: &Fact) -> Option<Job> {
        None
    }

    async fn claim(&self, world: &World, name: &str) -> sqlx::Result<Option<Claimed>> {
        outbox::claim(&world.pool, name, worker::LEASE).await
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let message: Message = work.payload()?;
        world.caught_up(work).await?;
        let endpoint = world.commands.load::<Endpoint>(message.endpoint).await?.aggregate;
        let Some(living) = endpoint.living() else {
            return drop_it(world, &message, "the endpoint is no more").await;
        };
        outbox::restore(&world.pool, &message).await?;
        if !outbox::is_pending(&world.pool, message.id()).await? {
            return Ok(()); // it was settled, or its endpoint is no more
        }
        if !living.enabled && message.cause != Cause::Ping {
            return drop_it(world, &message, "the endpoint is disabled").await;
        }
        if !world.is_open(living.team_id).await? {
            return drop_it(world, &message, "the team is closed").await;
        }
        let sent = match &living.settings.target {
            Target::Email { to } => message::mail(world, work, &message, to).await?,
            Target::Webhook { url } => message::webhook(world, &message, living, url).await?,
            Target::Slack { url } => message::slack(world, &message, url).await?,
        };
        settle(world, work, (message, living), sent).await
    }

    fn tries(&self) -> i32 {
        TRIES
    }

    fn pause(&self, attempts: i32) -> Duration {
        pause(attempts, u64::from(uuid::Uuid::now_v7().as_bytes()[15]))
    }

    /// It is a dead letter. When nothing else arrived either since it was made, its endpoint is not asked any more.
    async fn give_up(&self, work: &Work, world: &World, why: &str) -> Result<(), JobError> {
        let message: Message = work.payload()?;
        let is_dead = outbox::nothing_arrived_since(&world.pool, message.id()).await?;
        outbox::end(&world.pool, message.id(), "failed", why).await?;
        if is_dead && message.cause != Cause::Ping {
            disable(world, work, &message, WhyDisabled::Failing).await?;
        }
        Ok(())
    }
}

/// What came of a try.
async fn settle(
    world: &World,
    work: &Work,
    (message, living): (Message, &Living),
    sent: Sent,
) -> Result<(), JobError> {
    let how = match sent {
        Sent::Nothing(why) => return drop_it(world, &message, &why).await,
        Sent::Tried(how) => how,
    };
    outbox::tried(&world.pool, message.id(), work.claimed.fence, &how).await?;
    if how.http_status == Some(410) && living.enabled {
        outbox::end(&world.pool, message.id(), "failed", "it is gone").await?;
        return disable(world, work, &message, WhyDisabled::Gone).await;
    }
    match how.error {
        // Whether a ping arrives is seen at once: it is not worth three days.
        Some(why) if message.cause == Cause::Ping => {
            Ok(outbox::end(&world.pool, message.id(), "failed", &why).await?)
        }
        // After the last try nothing is waited for.
        Some(why) if work.claimed.attempts >= TRIES => Err(JobError::Retry(why)),
        Some(why) => match how.pause.map(|pause| pause.min(LONGEST_ASKED)) {
            Some(pause) => Err(JobError::Later(why, pause)),
            None => Err(JobError::Retry(why)),
        },
        None => Ok(()),
    }
}

async fn drop_it(world: &World, message: &Message, why: &str) -> Result<(), JobError> {
    Ok(outbox::end(&world.pool, message.id(), "dropped", why).await?)
}

async fn disable(world: &World, work: &Work, message: &Message, why: WhyDisabled) -> Result<(), JobError> {
    let id: EndpointId = message.endpoint;
    let context = world.context(work, Some(message.team)).once("disable");
    world.commands.endpoint(id, EndpointCommand::DisableEndpoint { why }, &context).await?;
    Ok(())
}

/// 5, 10, 20 seconds … 6 hours, a fifth more or less: who was away is not asked by everybody at once.
fn pause(attempts: i32, chance: u64) -> Duration {
    if attempts >= TRIES {
        return Duration::ZERO; // it is given up
    }
    let doubled = Duration::from_secs(5) * 2_u32.pow(u32::try_from(attempts.clamp(1, 20)).unwrap_or(1) - 1);
    let pause = doubled.min(LONGEST);
    let pause = pause * 4 / 5 + pause * u32::try_from(chance % 256).unwrap_or(0) * 2 / 5 / 255;
    // The database counts microseconds.
    Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_to_six_hours_and_come_to_three_days() {
        let all =
            |chance| (1..TRIES).map(move |n| pause(n, chance)).sum::<Duration>().as_secs_f64() / 86400.0;
        assert_eq!(pause(1, 0), Duration::from_secs(4));
        assert_eq!(pause(1, 255), Duration::from_secs(6));
        assert_eq!(pause(TRIES - 1, 255), LONGEST * 6 / 5);
        assert!((2.95..3.05).contains(&((all(0) + all(255)) / 2.0)), "{} to {} days", all(0), all(255));
    }
}
