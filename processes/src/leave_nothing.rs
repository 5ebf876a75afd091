//! `project.deleted`, `project.environment_deleted`, `team.closed` or `team.deleted` → its builds end, its servers stop.

use async_trait::async_trait;
use commands::CommandError;
use domain::build::{BuildCommand, BuildError};
use domain::deployment::DeploymentCommand;
use domain::fact::{Fact, Recorded};
use domain::ids::{EnvironmentId, ProjectId, TeamId};
use domain::project::ProjectEvent;
use domain::team::TeamEvent;
use projections::deployments::Of;
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World, start_again};

/// Leaves nothing running of what was closed or deleted.
pub(crate) struct LeaveNothing;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Payload {
    Team(TeamId),
    Project(ProjectId),
    Environment(EnvironmentId),
}

#[async_trait]
impl Process for LeaveNothing {
    fn name(&self) -> &'static str {
        "leave_nothing"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let (key, payload) = match fact {
            // A team can be closed more than once, and is not stopped while it is started again.
            Fact::Team(id, TeamEvent::TeamClosed { .. }) => {
                return Some(Job {
                    key: format!("{id}/{}", recorded.position),
                    lane: start_again::lane(*id),
                    payload: serde_json::to_value(Payload::Team(*id)).expect("it serialises"),
                    due: Due::AtOnce,
                });
            }
            Fact::Team(id, TeamEvent::TeamDeleted { .. }) => (id.to_string(), Payload::Team(*id)),
            Fact::Project(id, ProjectEvent::ProjectDeleted { .. }) => (id.to_string(), Payload::Project(*id)),
            Fact::Project(_, ProjectEvent::ProjectEnvironmentDeleted { environment_id, .. }) => {
                (environment_id.to_string(), Payload::Environment(*environment_id))
            }
            _ => return None,
        };
        Some(Job {
            lane: format!("leave_nothing:{key}"),
            key,
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        world.caught_up(work).await?;
        let of = match work.payload()? {
            // It was reopened before this was its turn: who starts it again will have nothing to start.
            Payload::Team(id) if world.is_open(id).await? => return Ok(()),
            Payload::Team(id) => Of::Team(id),
            Payload::Project(id) => Of::Project(id),
            Payload::Environment(id) => Of::Environment(id),
        };
        for (build, team) in projections::builds::open(&world.pool, of).await? {
            let context = world.context(work, Some(team)).once(&build.to_string());
            match world.commands.build(build, BuildCommand::CancelBuild, &context).await {
                Ok(_) | Err(CommandError::Refused(BuildError::AlreadyFinished)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (deployment, team) in projections::deployments::open(&world.pool, of).await? {
            let context = world.context(work, Some(team)).once(&deployment.to_string());
            world.commands.deployment(deployment, DeploymentCommand::StopDeployment, &context).await?;
        }
        Ok(())
    }
}
