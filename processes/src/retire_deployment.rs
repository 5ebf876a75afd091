//! `deployment.superseded`, `deployment.stopped`, `deployment.slept` or `deployment.failed` → its server gets no more
//! requests, finishes those under way, and is ended.

use std::time::Duration;

use async_trait::async_trait;
use domain::build::FailureCode;
use domain::deployment::{Deployment, DeploymentEvent};
use domain::fact::{Fact, Recorded};
use domain::ids::DeploymentId;
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// How long requests under way may take.
const DRAIN: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL. Mastra's own worst case is twice its drain time-out of 5 s plus 5 s.
const GRACE: Duration = Duration::from_secs(20);

/// Ends servers.
pub(crate) struct RetireDeployment;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    deployment_id: DeploymentId,
    /// Whether requests may be under way.
    drain: bool,
    /// Whether it only sleeps: one that was woken meanwhile runs on.
    #[serde(default)]
    asleep: bool,
}

#[async_trait]
impl Process for RetireDeployment {
    fn name(&self) -> &'static str {
        "retire_deployment"
    }

    fn concurrency(&self) -> usize {
        8
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Deployment(id, event) = fact else { return None };
        if matches!(event, DeploymentEvent::DeploymentSlept {}) {
            let payload = Payload { deployment_id: *id, drain: true, asleep: true };
            return Some(Job {
                key: format!("{id}/{}", recorded.sequence),
                // In the lane of its starts: who wakes it waits until the old server is gone.
                lane: format!("deployment:{id}"),
                payload: serde_json::to_value(payload).expect("it serialises"),
                due: Due::AtOnce,
            });
        }
        let drain = match event {
            DeploymentEvent::DeploymentSuperseded { .. } | DeploymentEvent::DeploymentStopped {} => true,
            // Of several servers one has ended; the others have requests under way.
            DeploymentEvent::DeploymentFailed { code, .. } => *code == FailureCode::CrashedAfterStart,
            _ => return None,
        };
        Some(Job {
            key: id.to_string(),
            lane: format!("retire:{id}"),
            payload: serde_json::to_value(Payload { deployment_id: *id, drain, asleep: false })
                .expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { deployment_id, drain, asleep } = work.payload()?;
        if asleep && !world.commands.load::<Deployment>(deployment_id).await?.aggregate.is_asleep() {
            return Ok(());
        }
        if drain {
            tokio::select! {
                () = world.traffic.drained(deployment_id, work.claimed.cause_position, DRAIN) => {}
                () = work.lost.cancelled() => return Err(JobError::Retry("the worker was stopped".to_owned())),
            }
        }
        let grace = if drain { GRACE } else { Duration::ZERO };
        Ok(world.runner.stop(deployment_id, grace).await?)
    }
}
