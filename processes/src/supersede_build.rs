//! `build.requested` or `build.requeued` → the queued builds of its environment that a newer one makes needless are
//! `build.superseded`.

use async_trait::async_trait;
use commands::CommandError;
use domain::build::{BuildCommand, BuildError, BuildEvent};
use domain::fact::{Fact, Recorded};
use domain::ids::BuildId;
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Ends the wait of builds that nobody would look at any more.
pub(crate) struct SupersedeBuild;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    build_id: BuildId,
}

#[async_trait]
impl Process for SupersedeBuild {
    fn name(&self) -> &'static str {
        "supersede_build"
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        // What waits again for another try may have been overtaken meanwhile.
        let Fact::Build(id, BuildEvent::BuildRequested { .. } | BuildEvent::BuildRequeued { .. }) = fact
        else {
            return None;
        };
        Some(Job {
            key: format!("{id}/{}", recorded.sequence),
            lane: format!("supersede_build:{id}"),
            payload: serde_json::to_value(Payload { build_id: *id }).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { build_id } = work.payload()?;
        world.caught_up(work).await?;
        let Some(build) = projections::builds::find(&world.pool, build_id).await? else {
            return Err(JobError::Lost("the build is unknown".to_owned()));
        };
        for (older, team, by) in projections::builds::superseded(&world.pool, build.environment_id).await? {
            let context = world.context(work, Some(team)).once(&older.to_string());
            match world.commands.build(older, BuildCommand::SupersedeBuild { by }, &context).await {
                // It was taken in the meantime, and nothing is left to wait.
                Ok(_)
                | Err(CommandError::Refused(BuildError::AlreadyStarted | BuildError::AlreadyFinished)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
