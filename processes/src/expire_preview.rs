//! The preview of a pull request → it is deleted when its time is over; another commit gives it more.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{EnvironmentId, ProjectId};
use domain::project::{Project, ProjectCommand, ProjectEvent};
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Ends previews whose time is over.
pub(crate) struct ExpirePreview;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    project_id: ProjectId,
    environment_id: EnvironmentId,
    expires_at: DateTime<Utc>,
}

#[async_trait]
impl Process for ExpirePreview {
    fn name(&self) -> &'static str {
        "expire_preview"
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Project(
            project_id,
            ProjectEvent::ProjectEnvironmentCreated { environment }
            | ProjectEvent::ProjectEnvironmentChanged { environment, .. },
        ) = fact
        else {
            return None;
        };
        let expires_at = environment.pull_request.as_ref()?.expires_at;
        let payload = Payload { project_id: *project_id, environment_id: environment.id, expires_at };
        Some(Job {
            key: format!("{}/{}", environment.id, recorded.position),
            lane: format!("expire_preview:{}", environment.id),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::At(expires_at),
        })
    }

    /// One that is gone, or has got more time, stays as it is.
    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { project_id, environment_id, expires_at } = work.payload()?;
        let project = world.commands.load::<Project>(project_id).await?.aggregate;
        let Some((team, _)) = project.living() else { return Ok(()) };
        let command = ProjectCommand::ExpirePreview { environment_id, expires_at };
        let context = world.context(work, Some(team)).once("expire");
        world.commands.project(project_id, command, &context).await?;
        Ok(())
    }
}
