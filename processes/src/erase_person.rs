//! `user.erased` or `ops.person_shredded` → the person's keys are destroyed, whatever crashed in between, and the person
//! belongs to no team any more.

use async_trait::async_trait;
use commands::CommandError;
use domain::fact::{Fact, Recorded};
use domain::ids::UserId;
use domain::operation::OperationEvent;
use domain::team::{MemberRole, TeamCommand};
use domain::user::{UserCommand, UserEvent};
use projections::shred;
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Finishes erasures.
pub(crate) struct ErasePerson;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    user_id: UserId,
}

#[async_trait]
impl Process for ErasePerson {
    fn name(&self) -> &'static str {
        "erase_person"
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let user_id = match fact {
            Fact::User(id, UserEvent::UserErased { .. }) => *id,
            Fact::Operation(_, OperationEvent::PersonShredded { user_id }) => *user_id,
            _ => return None,
        };
        Some(Job {
            key: format!("{user_id}/{}", recorded.position),
            lane: format!("erase_person:{user_id}"),
            payload: serde_json::to_value(Payload { user_id }).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { user_id } = work.payload()?;
        world.caught_up(work).await?;
        world.shred_list.add(user_id, (world.now)()).map_err(|error| JobError::Retry(error.to_string()))?;
        let destroyed = shred::erase(&world.pool, user_id).await?;
        world.commands.vault().forget(&destroyed);
        let context = world.context(work, None).once("erase");
        settled(world.commands.user(user_id, UserCommand::EraseUser, &context).await)?;
        for team in projections::teams::memberships(&world.pool, user_id).await? {
            let context = world.context(work, Some(team)).once(&team.to_string());
            let command = TeamCommand::RemoveMember { user_id, by: MemberRole::Owner };
            settled(world.commands.team(team, command, &context).await)?;
        }
        Ok(())
    }
}

/// A refusal stands in nobody's way: the user is unknown to this log, has left the team, or was its last owner.
fn settled<T, E: std::error::Error + 'static>(answer: Result<T, CommandError<E>>) -> Result<(), JobError> {
    match answer {
        Err(CommandError::Refused(refusal)) => {
            tracing::warn!("somebody was erased, and something stays behind: {refusal}");
            Ok(())
        }
        answer => answer.map(drop).map_err(Into::into),
    }
}
