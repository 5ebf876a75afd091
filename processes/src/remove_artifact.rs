//! `build.artifact_pruned` → its bytes are gone.
//!
//! They go an hour after the event, so that whoever was allowed to deploy the build just before it is seen: nothing
//! that is asked of the platform takes so long to be in the log. What a deployment that is not over needs stays until
//! it is over; what another build has too stays with that one.

use std::time::Duration;

use async_trait::async_trait;
use domain::build::BuildEvent;
use domain::fact::{Fact, Recorded};
use domain::ids::BuildId;
use domain::ports::artifacts::{ArtifactError, Removal};
use projections::artifacts::{Need, need};
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// From the event to the end of the bytes.
const GRACE: Duration = Duration::from_secs(3600);

/// How long the query tables may take to know all that was there when it began.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// How long it waits for who still needs it.
const PAUSE: Duration = Duration::from_secs(600);

/// Removes the bytes of artifacts.
pub(crate) struct RemoveArtifact;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    build_id: BuildId,
}

#[async_trait]
impl Process for RemoveArtifact {
    fn name(&self) -> &'static str {
        "remove_artifact"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, _recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Build(build_id, BuildEvent::BuildArtifactPruned {}) = fact else { return None };
        Some(Job {
            key: build_id.to_string(),
            lane: format!("remove_artifact:{build_id}"),
            payload: serde_json::to_value(Payload { build_id: *build_id }).expect("it serialises"),
            due: Due::After(GRACE),
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { build_id } = work.payload()?;
        let head = projections::log::head(&world.pool).await?;
        if !world.feed.wait_for(head, CATCHING_UP).await {
            return Err(JobError::Retry("the query tables are behind".to_owned()));
        }
        let build = projections::builds::find(&world.pool, build_id).await?;
        let Some(artifact) = build.and_then(|build| build.artifact) else { return Ok(()) };
        match need(&world.pool, &artifact.sha256).await? {
            Need::Build => return Ok(()),
            Need::Deployment => return Err(JobError::Retry("a deployment still needs it".to_owned())),
            Need::None => {}
        }
        match world.artifacts.remove(&artifact, ((world.now)() - GRACE).into()).await? {
            Removal::Gone => Ok(()),
            Removal::Spared => Err(JobError::Retry("a build has just put the same content".to_owned())),
        }
    }

    fn tries(&self) -> i32 {
        i32::MAX
    }

    fn pause(&self, _attempts: i32) -> Duration {
        PAUSE
    }
}

impl From<ArtifactError> for JobError {
    fn from(error: ArtifactError) -> Self {
        Self::Retry(crate::chain(&error))
    }
}
