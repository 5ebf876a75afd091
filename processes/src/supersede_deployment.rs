//! `deployment.activated` → when it has proved itself for a while, the older ones of its environment are
//! `deployment.superseded`. Until then they run on, so that the router can go back at once.

use async_trait::async_trait;
use domain::deployment::{Deployment, DeploymentCommand, DeploymentEvent, PROBATION};
use domain::fact::{Fact, Recorded};
use domain::ids::DeploymentId;
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Retires what a newer deployment has replaced.
pub(crate) struct SupersedeDeployment;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    deployment_id: DeploymentId,
}

/// The lane of what a deployment's success or failure means for the one before it.
pub(crate) fn lane(id: DeploymentId) -> String {
    format!("supersede:{id}")
}

#[async_trait]
impl Process for SupersedeDeployment {
    fn name(&self) -> &'static str {
        "supersede_deployment"
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Deployment(id, DeploymentEvent::DeploymentActivated { .. }) = fact else {
            return None;
        };
        Some(Job {
            key: format!("{id}/{}", recorded.sequence),
            lane: lane(*id),
            payload: serde_json::to_value(Payload { deployment_id: *id }).expect("it serialises"),
            due: Due::After(PROBATION),
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { deployment_id } = work.payload()?;
        world.caught_up(work).await?;
        // Who sleeps already had nothing to do, and nothing went wrong with it.
        let it = world.commands.load::<Deployment>(deployment_id).await?.aggregate;
        if !it.is_running() && !it.is_asleep() {
            return Ok(());
        }
        let Some(row) = projections::deployments::find(&world.pool, deployment_id).await? else {
            return Err(JobError::Lost("the deployment is unknown".to_owned()));
        };
        for older in
            projections::deployments::older_than(&world.pool, row.environment_id, deployment_id).await?
        {
            let context = world.context(work, Some(row.team_id)).once(&older.to_string());
            let command = DeploymentCommand::SupersedeDeployment { by: deployment_id };
            world.commands.deployment(older, command, &context).await?;
        }
        Ok(())
    }
}
