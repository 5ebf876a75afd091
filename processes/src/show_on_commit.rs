//! What becomes of a commit → the git host shows it beside the commit, when its repository was chosen through an
//! installation. Shown is what is true when it is shown: of several reports that are late, each says the newest.

use async_trait::async_trait;
use domain::build::BuildEvent;
use domain::deployment::DeploymentEvent;
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, DeploymentId};
use domain::ports::git_host::{CommitState, CommitStatus, HostError};
use domain::project::Project;
use projections::builds::BuildRow;
use serde::{Deserialize, Serialize};

use crate::progress::{self, Stage};
use crate::{Due, Job, JobError, Process, Work, World, repository};

/// Tells the git host.
pub(crate) struct ShowOnCommit;

/// What is reported on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum About {
    Build(BuildId),
    Deployment(DeploymentId),
}

#[async_trait]
impl Process for ShowOnCommit {
    fn name(&self) -> &'static str {
        "show_on_commit"
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn on(&self, _recorded: &Recorded, fact: &Fact) -> Option<Job> {
        // A server that is started again serves again: that is no news, so each is reported once.
        let (about, key) = match fact {
            Fact::Build(id, event) => {
                let what = match event {
                    BuildEvent::BuildStarted { .. } => "started",
                    BuildEvent::BuildSucceeded { .. } => "succeeded",
                    BuildEvent::BuildFailed { .. } => "failed",
                    BuildEvent::BuildCancelled {} => "cancelled",
                    BuildEvent::BuildSuperseded { .. } => "superseded",
                    _ => return None,
                };
                (About::Build(*id), format!("{id}/{what}"))
            }
            Fact::Deployment(id, event) => {
                let what = match event {
                    DeploymentEvent::DeploymentActivated { .. } => "activated",
                    DeploymentEvent::DeploymentFailed { .. } => "failed",
                    DeploymentEvent::DeploymentRolledBack { .. } => "rolled_back",
                    _ => return None,
                };
                (About::Deployment(*id), format!("{id}/{what}"))
            }
            _ => return None,
        };
        let payload = serde_json::to_value(about).expect("it serialises");
        Some(Job { lane: format!("show_on_commit:{key}"), key, payload, due: Due::AtOnce })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let about = work.payload()?;
        world.caught_up(work).await?;
        let build_id = match about {
            About::Build(id) => id,
            About::Deployment(id) => match projections::deployments::find(&world.pool, id).await? {
                Some(row) => row.build_id,
                None => return Ok(()),
            },
        };
        match projections::builds::find(&world.pool, build_id).await? {
            Some(build) => show(world, &build).await,
            None => Ok(()),
        }
    }
}

async fn show(world: &World, build: &BuildRow) -> Result<(), JobError> {
    let Some(commit) = build.commit.as_deref().and_then(|commit| commit.parse().ok()) else { return Ok(()) };
    let project = world.commands.load::<Project>(build.project_id).await?.aggregate;
    let (Some((team, settings)), Some(environment)) =
        (project.living(), project.environment(build.environment_id))
    else {
        return Ok(());
    };
    let (Some(host), Some(place)) = (world.host(repository::HOST), settings.hosted()) else {
        return Ok(());
    };
    let Some(installation) = repository::active(world, team, settings).await? else { return Ok(()) };
    let newest = projections::deployments::newest_in(&world.pool, build.environment_id, build.id).await?;
    let (stage, description) = progress::of(build, newest.as_ref());
    let state = match stage {
        Stage::Queued | Stage::Underway => CommitState::Pending,
        Stage::Built | Stage::Serving | Stage::Served => CommitState::Success,
        Stage::Failed => CommitState::Failure,
        Stage::Overtaken => CommitState::Error,
    };
    let status = CommitStatus {
        state,
        description,
        context: format!("mastra-admin/{}/{}", settings.slug, environment.slug),
        url: format!("{}/api/v1/builds/{}", world.public_url, build.id),
    };
    match host.show(installation.github_id, place, &commit, &status).await {
        Ok(()) => Ok(()),
        Err(HostError::Unavailable { why, .. }) => Err(JobError::Retry(why)),
        // The App was not given the right, or the commit is gone: the deployment does not need either.
        Err(error) => Err(JobError::Lost(error.to_string())),
    }
}
