//! `project.preview_approved` → `build.requested` of the commit that was approved.

use async_trait::async_trait;
use domain::build::{BuildCommand, Source};
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, EnvironmentId, ProjectId};
use domain::project::{EnvironmentType, Project, ProjectEvent};
use domain::values::CommitSha;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Due, Job, JobError, Process, Work, World};

/// Builds what a fork brings, once a person has approved it.
pub(crate) struct BuildPreview;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    project_id: ProjectId,
    environment_id: EnvironmentId,
    commit: CommitSha,
}

#[async_trait]
impl Process for BuildPreview {
    fn name(&self) -> &'static str {
        "build_preview"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Project(id, ProjectEvent::ProjectPreviewApproved { environment_id, commit }) = fact else {
            return None;
        };
        let payload = Payload { project_id: *id, environment_id: *environment_id, commit: commit.clone() };
        Some(Job {
            key: format!("{environment_id}/{}", recorded.position),
            lane: format!("build_preview:{environment_id}"),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { project_id, environment_id, commit } = work.payload()?;
        let project = world.commands.load::<Project>(project_id).await?.aggregate;
        let Some((team_id, _)) = project.living() else { return Ok(()) };
        let environment = project.environment(environment_id).and_then(|it| it.pull_request.as_ref());
        let Some(pull_request) = environment.filter(|it| it.head == commit && !it.is_waiting()) else {
            return Err(JobError::Lost("the pull request has moved on, or is closed".to_owned()));
        };
        let command = BuildCommand::RequestBuild {
            team_id,
            project_id,
            environment_id,
            environment_type: EnvironmentType::Preview,
            branch: pull_request.branch.clone(),
            commit: Some(commit),
            source: Source::Repository,
            deploy: true,
            trigger: None,
        };
        let context = world.context(work, Some(team_id)).once("request").of_new();
        world.commands.build(BuildId(Uuid::now_v7()), command, &context).await?;
        Ok(())
    }
}
