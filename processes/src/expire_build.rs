//! `build.requested` or `build.requeued` → `build.failed`, when nobody has taken it for too long.

use std::time::Duration;

use async_trait::async_trait;
use domain::build::{BuildCommand, BuildEvent, FailureCode, Phase};
use domain::fact::{Fact, Recorded};
use domain::ids::BuildId;
use domain::ports::runner::BuildFailure;
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Ends waits that take too long.
pub(crate) struct ExpireBuild {
    /// From the beginning of a wait.
    pub(crate) after: Duration,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    build_id: BuildId,
    /// Of the try before this wait.
    fence: i64,
    seconds: u64,
}

#[async_trait]
impl Process for ExpireBuild {
    fn name(&self) -> &'static str {
        "expire_build"
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let (build_id, fence) = match fact {
            Fact::Build(id, BuildEvent::BuildRequested { .. }) => (*id, 0),
            Fact::Build(id, BuildEvent::BuildRequeued { fence, .. }) => (*id, *fence),
            _ => return None,
        };
        let payload = Payload { build_id, fence, seconds: self.after.as_secs() };
        Some(Job {
            key: format!("{build_id}/{}", recorded.sequence),
            lane: format!("expire_build:{build_id}"),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::After(self.after),
        })
    }

    /// A build that has been taken since refuses: there is nothing to do.
    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { build_id, fence, seconds } = work.payload()?;
        let message = format!(
            "it waited for {seconds} s and no worker was free; `waitingFor` of a queued build says what it waits for"
        );
        let (code, phase) = (FailureCode::QueueTimeout, Phase::Cloning);
        let failure = BuildFailure { code, phase, message, exit_code: None };
        let context = world.context(work, None).once("expire");
        world.commands.build(build_id, BuildCommand::ExpireBuild { fence, failure }, &context).await?;
        Ok(())
    }
}
