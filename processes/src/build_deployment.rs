//! `build.succeeded` of a build that is to be deployed → `deployment.requested`.

use async_trait::async_trait;
use domain::build::BuildEvent;
use domain::deployment::{DeploymentCommand, DeploymentKind};
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, DeploymentId};
use domain::ports::artifacts::Artifact;
use domain::project::{EnvVar, Project};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Due, Job, JobError, Process, Work, World};

/// Deploys what was built.
pub(crate) struct BuildDeployment;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    build_id: BuildId,
    artifact: Artifact,
    node_version: String,
}

#[async_trait]
impl Process for BuildDeployment {
    fn name(&self) -> &'static str {
        "build_deployment"
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn on(&self, _recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Build(build_id, BuildEvent::BuildSucceeded { artifact, node_version, .. }) = fact else {
            return None;
        };
        let (artifact, node_version) = (artifact.clone(), node_version.clone());
        Some(Job {
            key: build_id.to_string(),
            lane: format!("build_deployment:{build_id}"),
            payload: serde_json::to_value(Payload { build_id: *build_id, artifact, node_version })
                .expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { build_id, artifact, node_version } = work.payload()?;
        world.caught_up(work).await?;
        let Some(build) = projections::builds::find(&world.pool, build_id).await? else {
            return Err(JobError::Lost("the build is unknown".to_owned()));
        };
        let project = world.commands.load::<Project>(build.project_id).await?.aggregate;
        if !build.deploy || project.environment(build.environment_id).is_none() {
            return Ok(());
        }
        let env_vars =
            project.env_vars_in(build.environment_id).into_iter().filter(EnvVar::is_at_run_time).collect();
        let command = DeploymentCommand::RequestDeployment {
            team_id: build.team_id,
            project_id: build.project_id,
            environment_id: build.environment_id,
            build_id,
            artifact,
            node_version,
            env_vars,
            kind: DeploymentKind::Deploy,
        };
        let context = world.context(work, Some(build.team_id)).once("request").of_new();
        world.commands.deployment(DeploymentId(Uuid::now_v7()), command, &context).await?;
        Ok(())
    }
}
