//! `deployment.failed` of one that had taken over → the environment is served by the last good one again, and
//! `deployment.rolled_back` says by which.
//!
//! Within its probation the one before still runs, and the router is back there already. After it that one is gone:
//! what never served steadily is then replaced by a new deployment of what ran before. What did serve steadily is not
//! (ADR 0029).

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::build::FailureCode;
use domain::deployment::{Deployment, DeploymentCommand, DeploymentEvent, DeploymentKind, STEADY_SECONDS};
use domain::envelope::Actor;
use domain::fact::{Fact, Recorded};
use domain::ids::DeploymentId;
use domain::project::Project;
use projections::deployments::{self, DeploymentRow};
use projections::{going_back, log};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Due, Job, JobError, Process, Work, World, supersede_deployment};

const NAME: &str = "return_to_good";

/// Who has lived without it for so long is not surprised by it.
const FRESH: TimeDelta = TimeDelta::hours(1);

/// So many of what ran before are looked at.
const LOOK_BACK: i64 = 20;

/// Goes back to what worked.
pub(crate) struct ReturnToGood;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    deployment_id: DeploymentId,
    code: FailureCode,
    message: String,
}

#[async_trait]
impl Process for ReturnToGood {
    fn name(&self) -> &'static str {
        NAME
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn on(&self, _recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Deployment(id, DeploymentEvent::DeploymentFailed { code, message, .. }) = fact else {
            return None;
        };
        let payload = Payload { deployment_id: *id, code: *code, message: message.clone() };
        Some(Job {
            key: id.to_string(),
            lane: supersede_deployment::lane(*id),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { deployment_id, code, message } = work.payload()?;
        // What superseded the one before at the last moment has done so: it shares the lane.
        let head = log::head(&world.pool).await?;
        if !world.feed.wait_for(head, Duration::from_secs(10)).await {
            return Err(JobError::Retry("the query tables are behind".to_owned()));
        }
        if !world.commands.load::<Deployment>(deployment_id).await?.aggregate.has_served() {
            return Ok(()); // it has never taken over
        }
        let Some(failed) = deployments::find(&world.pool, deployment_id).await? else {
            return Err(JobError::Lost("the deployment is unknown".to_owned()));
        };
        let to = match going_back::still_serving_before(&world.pool, &failed).await? {
            Some(before) => before,
            None => match once_more(work, world, &failed).await? {
                Some(anew) => anew,
                None => return Ok(()),
            },
        };
        let context = world.context(work, Some(failed.team_id)).once("rolled_back");
        let command = DeploymentCommand::RollBackDeployment { to, code, message };
        world.commands.deployment(deployment_id, command, &context).await?;
        Ok(())
    }
}

/// Asks for what ran before, as it ran then: its artifact, its variables. `None` where there is no reason or no way.
async fn once_more(
    work: &Work,
    world: &World,
    failed: &DeploymentRow,
) -> Result<Option<DeploymentId>, JobError> {
    if failed.finished_at.is_none_or(|at| (world.now)() - at > FRESH) {
        return Ok(None);
    }
    let me = Actor::Process(NAME.to_owned()).to_string();
    // Who went back and failed too does not lead further and further back.
    if failed.created_by == me || has_been_steady(world, failed.id).await? {
        return Ok(None);
    }
    let project = world.commands.load::<Project>(failed.project_id).await?.aggregate;
    if project.environment(failed.environment_id).is_none() || !world.is_open(failed.team_id).await? {
        return Ok(None);
    }
    let (replaced, has_newer) = going_back::replaced_before(&world.pool, failed, &me, LOOK_BACK).await?;
    if has_newer {
        return Ok(None); // somebody has decided otherwise meanwhile
    }
    for good in replaced {
        if (&good.artifact, &good.env_vars) == (&failed.artifact, &failed.env_vars) {
            continue; // it would fail the same way
        }
        let build = projections::builds::find(&world.pool, good.build_id).await?;
        if build.is_some_and(|build| build.artifact_pruned_at.is_some()) {
            continue;
        }
        let command = DeploymentCommand::RequestDeployment {
            team_id: good.team_id,
            project_id: good.project_id,
            environment_id: good.environment_id,
            build_id: good.build_id,
            artifact: good.artifact,
            node_version: good.node_version,
            env_vars: good.env_vars,
            kind: DeploymentKind::Rollback,
        };
        let context = world.context(work, Some(good.team_id)).once("again").of_new();
        let receipt = world.commands.deployment(DeploymentId(Uuid::now_v7()), command, &context).await?;
        let id = receipt.aggregate_id.parse();
        return id.map(Some).map_err(|_| JobError::Never("a receipt without an id".to_owned()));
    }
    Ok(None)
}

/// Whether it ever served so long that it cannot be what was deployed that is broken.
async fn has_been_steady(world: &World, id: DeploymentId) -> Result<bool, JobError> {
    let events = log::read_stream(&world.pool, "deployment", &id.to_string()).await?;
    // That one of several servers comes and goes ends no time in which it served.
    let told = events.iter().filter(|event| event.event_type != "deployment.replicas_changed");
    let told: Vec<_> = told.map(|event| (event.event_type.as_str(), event.recorded_at)).collect();
    Ok(is_steady(&told))
}

fn is_steady(events: &[(&str, DateTime<Utc>)]) -> bool {
    let steady = TimeDelta::seconds(i64::try_from(STEADY_SECONDS).unwrap_or(i64::MAX));
    events.windows(2).any(|pair| pair[0].0 == "deployment.activated" && pair[1].1 - pair[0].1 >= steady)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_served_for_a_while_once_has_worked() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let story = |gap: i64| {
            vec![
                ("deployment.requested", at(0)),
                ("deployment.starting", at(100)),
                ("deployment.activated", at(101)),
                ("deployment.crashed", at(101 + gap)),
                ("deployment.starting", at(500)),
                ("deployment.activated", at(501)),
                ("deployment.failed", at(502)),
            ]
        };
        assert!(!is_steady(&story(59)));
        assert!(is_steady(&story(60)));
        assert!(!is_steady(&[]));
    }
}
