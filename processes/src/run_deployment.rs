//! `deployment.requested` or `deployment.crashed` → a server runs → `deployment.activated` or `deployment.failed`.

use std::time::Duration;

use async_trait::async_trait;
use domain::build::FailureCode;
use domain::deployment::{DeploymentCommand, DeploymentEvent};
use domain::fact::{Fact, Recorded};
use domain::ids::DeploymentId;
use projections::turns;
use projections::work::Claimed;
use serde::{Deserialize, Serialize};

use crate::serving::serve;
use crate::worker::LEASE;
use crate::{Due, Job, JobError, Process, Work, World};

/// Runs deployments.
pub(crate) struct RunDeployment;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    deployment_id: DeploymentId,
}

#[async_trait]
impl Process for RunDeployment {
    fn name(&self) -> &'static str {
        "run_deployment"
    }

    fn concurrency(&self) -> usize {
        4
    }

    async fn claim(&self, world: &World, worker: &str) -> sqlx::Result<Option<Claimed>> {
        turns::claim(&world.pool, self.name(), worker, LEASE).await
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Deployment(id, event) = fact else { return None };
        let due = match event {
            DeploymentEvent::DeploymentRequested { .. } => Due::AtOnce,
            DeploymentEvent::DeploymentCrashed { crashes, .. } => {
                Due::After(Duration::from_secs(1 << (*crashes).min(6)))
            }
            _ => return None,
        };
        Some(Job {
            key: format!("{id}/{}", recorded.sequence),
            lane: format!("deployment:{id}"),
            payload: serde_json::to_value(Payload { deployment_id: *id }).expect("it serialises"),
            due,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { deployment_id } = work.payload()?;
        world.caught_up(work).await?;
        let Some(row) = projections::deployments::find(&world.pool, deployment_id).await? else {
            return Err(JobError::Lost("the deployment is unknown".to_owned()));
        };
        if !world.is_open(row.team_id).await? {
            let context = world.context(work, Some(row.team_id));
            let stop = DeploymentCommand::StopDeployment;
            world.commands.deployment(deployment_id, stop, &context).await?;
            return Ok(());
        }
        serve(work, world, &row).await
    }

    async fn give_up(&self, work: &Work, world: &World, why: &str) -> Result<(), JobError> {
        let Payload { deployment_id } = work.payload()?;
        let (fence, runner) = (work.claimed.fence, world.runner.name().to_owned());
        let context = world.context(work, None);
        let start = DeploymentCommand::StartDeployment { fence, runner };
        world.commands.deployment(deployment_id, start, &context).await?;
        let message = format!("the platform could not run this deployment: {why}");
        let code = FailureCode::PlatformError;
        let failed = DeploymentCommand::FailDeployment { fence, code, message, exit_code: None };
        world.commands.deployment(deployment_id, failed, &context).await?;
        Ok(())
    }
}
