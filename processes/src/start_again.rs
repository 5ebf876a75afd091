//! `team.reopened` → what ran when the team was closed is asked for once more: `deployment.requested`.
//!
//! A deployment that is over never runs again, so each gets one in its place, with the same artifact and variables.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use domain::deployment::{DeploymentCommand, DeploymentKind};
use domain::envelope::Actor;
use domain::fact::{Fact, Recorded};
use domain::ids::{DeploymentId, TeamId};
use domain::project::Project;
use domain::team::TeamEvent;
use projections::deployments::DeploymentRow;
use projections::log;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Due, Job, JobError, Process, Work, World};

/// Clocks of servers differ by less; positions decide.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// Starts what stopped with a team.
pub(crate) struct StartAgain;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    team_id: TeamId,
}

/// The lane of what stops a closed team and of what starts it again.
pub(crate) fn lane(team: TeamId) -> String {
    format!("team:{team}")
}

#[async_trait]
impl Process for StartAgain {
    fn name(&self) -> &'static str {
        "start_again"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Team(id, TeamEvent::TeamReopened {}) = fact else { return None };
        Some(Job {
            key: format!("{id}/{}", recorded.position),
            lane: lane(*id),
            payload: serde_json::to_value(Payload { team_id: *id }).expect("it serialises"),
            due: Due::AtOnce,
        })
    }

    /// Also for a team that was closed anew meanwhile: what is asked for then is stopped then, and is there to be
    /// started when that team is reopened.
    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { team_id } = work.payload()?;
        // What stopped it may have gone on for a while after it was reopened.
        let head = log::head(&world.pool).await?;
        if !world.feed.wait_for(head, Duration::from_secs(10)).await {
            return Err(JobError::Retry("the query tables are behind".to_owned()));
        }
        let (team, upto) = (team_id.to_string(), work.claimed.cause_position);
        let closed = log::last_of(&world.pool, ("team", &team), &["team.closed"], None, upto).await?;
        let Some(closed) = closed else { return Ok(()) };
        let since = closed.recorded_at - SKEW;
        for row in projections::deployments::stopped_since(&world.pool, team_id, since).await? {
            if stopped_by_closing(world, row.id, closed.position).await?
                && has_its_place(world, &row).await?
                && !has_an_heir(world, &row, closed.position).await?
            {
                let context = world.context(work, Some(team_id)).once(&row.id.to_string()).of_new();
                world.commands.deployment(DeploymentId(Uuid::now_v7()), again(row), &context).await?;
            }
        }
        Ok(())
    }
}

/// Whether the platform stopped it, and not a person: after the team was closed there is one reason for that.
async fn stopped_by_closing(world: &World, id: DeploymentId, closed: i64) -> Result<bool, JobError> {
    let stream = ("deployment", &*id.to_string());
    let stop = log::last_of(&world.pool, stream, &["deployment.stopped"], None, i64::MAX).await?;
    Ok(stop.is_some_and(|stop| {
        stop.position > closed && matches!(stop.metadata.envelope().actor, Actor::Process(_))
    }))
}

/// What was deleted just before the team was closed stopped with it, and has no place to run.
async fn has_its_place(world: &World, row: &DeploymentRow) -> Result<bool, JobError> {
    let project = world.commands.load::<Project>(row.project_id).await?.aggregate;
    Ok(project.environment(row.environment_id).is_some())
}

/// Whether somebody has put something newer in its place meanwhile.
async fn has_an_heir(world: &World, row: &DeploymentRow, closed: i64) -> Result<bool, JobError> {
    let newest = projections::deployments::of_environment(&world.pool, row.environment_id, None, 1).await?;
    Ok(newest.iter().any(|newest| {
        newest.id != row.id && newest.requested > closed && !newest.created_by.starts_with("process:")
    }))
}

fn again(row: DeploymentRow) -> DeploymentCommand {
    DeploymentCommand::RequestDeployment {
        team_id: row.team_id,
        project_id: row.project_id,
        environment_id: row.environment_id,
        build_id: row.build_id,
        artifact: row.artifact,
        node_version: row.node_version,
        env_vars: row.env_vars,
        kind: DeploymentKind::Restart,
    }
}
