//! What becomes of an environment → the git host shows it: as deployments of the repository, and for the preview of a
//! pull request in one comment below that. Shown is what is true when it is shown.
//!
//! Invariant: of one project one thing is shown at a time, so nothing is made twice. Most facts do not say which project
//! they are of: their work finds that out, and leaves the rest to work in the lane of the project.

mod comment;

use async_trait::async_trait;
use domain::build::BuildEvent;
use domain::deployment::DeploymentEvent;
use domain::fact::{Fact, Recorded};
use domain::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId};
use domain::ports::git_host::{DeploymentState, GitHost, HostDeployment, HostError};
use domain::project::{Environment, EnvironmentType, Project, ProjectEvent, ProjectSettings};
use domain::values::RepoUrl;
use projections::shown::{self, ShownDeployment};
use projections::work::{self, NewWork};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::progress::{self, Stage};
use crate::{Due, Job, JobError, NAMESPACE, Process, Work, World, repository};

/// Tells the git host.
pub(crate) struct ShowEnvironment;

/// What is shown.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Payload {
    /// Where a build is for.
    Build(BuildId),
    /// Where a deployment is.
    Deployment(DeploymentId),
    /// What is there, and what of this build is.
    Place(Place),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    project_id: ProjectId,
    /// Every one of the project when absent.
    environment_id: Option<EnvironmentId>,
    build_id: Option<BuildId>,
}

impl Place {
    fn lane(&self) -> String {
        format!("show_environment:{}", self.project_id)
    }
}

/// The repository of a project at its host.
struct Sight<'a> {
    host: &'a dyn GitHost,
    installation: i64,
    repository: (i64, &'a RepoUrl),
    settings: &'a ProjectSettings,
}

#[async_trait]
impl Process for ShowEnvironment {
    fn name(&self) -> &'static str {
        "show_environment"
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let payload = asked_for(fact)?;
        let key = recorded.position.to_string();
        let lane = match &payload {
            Payload::Place(place) => place.lane(),
            _ => format!("show_environment:{key}"),
        };
        let payload = serde_json::to_value(payload).expect("it serialises");
        Some(Job { lane, key, payload, due: Due::AtOnce })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let payload = work.payload()?;
        world.caught_up(work).await?;
        let place = match payload {
            Payload::Place(place) => return show(world, place).await,
            Payload::Build(id) => projections::builds::find(&world.pool, id).await?.map(|row| Place {
                project_id: row.project_id,
                environment_id: Some(row.environment_id),
                build_id: Some(id),
            }),
            Payload::Deployment(id) => {
                projections::deployments::find(&world.pool, id).await?.map(|row| Place {
                    project_id: row.project_id,
                    environment_id: Some(row.environment_id),
                    build_id: Some(row.build_id),
                })
            }
        };
        match place {
            Some(place) => in_its_lane(work, world, place).await,
            None => Ok(()),
        }
    }
}

fn asked_for(fact: &Fact) -> Option<Payload> {
    use BuildEvent::*;
    use DeploymentEvent::*;
    use ProjectEvent::*;
    let place = |project_id: &ProjectId, environment_id: Option<EnvironmentId>| {
        Some(Payload::Place(Place { project_id: *project_id, environment_id, build_id: None }))
    };
    match fact {
        Fact::Build(
            id,
            BuildRequested { .. }
            | BuildStarted { .. }
            | BuildCommitResolved { .. }
            | BuildSucceeded { .. }
            | BuildFailed { .. }
            | BuildCancelled {}
            | BuildSuperseded { .. },
        ) => Some(Payload::Build(*id)),
        Fact::Deployment(
            id,
            DeploymentRequested { .. }
            | DeploymentActivated { .. }
            | DeploymentFailed { .. }
            | DeploymentRolledBack { .. }
            | DeploymentSuperseded { .. }
            | DeploymentStopped { .. },
        ) => Some(Payload::Deployment(*id)),
        Fact::Project(id, event) => match event {
            ProjectEnvironmentCreated { environment } | ProjectEnvironmentChanged { environment, .. } => {
                environment.pull_request.as_ref()?;
                place(id, Some(environment.id))
            }
            ProjectPreviewApproved { environment_id, .. }
            | ProjectEnvironmentDeleted { environment_id, .. } => place(id, Some(*environment_id)),
            ProjectDeleted { .. } => place(id, None),
            _ => None,
        },
        _ => None,
    }
}

/// The same, once what is shown of the project before it has been.
async fn in_its_lane(work: &Work, world: &World, place: Place) -> Result<(), JobError> {
    let name = format!("show_environment/{}/place", work.claimed.id);
    let next = NewWork {
        id: Uuid::new_v5(&NAMESPACE, name.as_bytes()).into(),
        process: work.claimed.process.clone(),
        key: format!("{}/place", work.claimed.key),
        lane: place.lane(),
        payload: serde_json::to_value(Payload::Place(place)).expect("it serialises"),
        due: Due::AtOnce,
        cause_event: work.claimed.cause_event,
        cause_position: work.claimed.cause_position,
        correlation: work.claimed.correlation.clone(),
    };
    work::enqueue(&mut *world.pool.acquire().await?, &next).await?;
    Ok(())
}

async fn show(world: &World, place: Place) -> Result<(), JobError> {
    let project = world.commands.load::<Project>(place.project_id).await?.aggregate;
    let Some((team, settings)) = project.ever() else { return Ok(()) };
    let (Some(host), Some(repository)) = (world.host(repository::HOST), settings.hosted()) else {
        return Ok(());
    };
    let Some(installation) = repository::active(world, team, settings).await? else { return Ok(()) };
    let sight = Sight { host, installation: installation.github_id, repository, settings };
    let environment = place.environment_id.and_then(|id| project.environment(id));
    // One must not keep the other from being shown: the App may have the right to one of them alone.
    let deployments = match (environment, place.build_id) {
        (Some(environment), Some(build)) => sight.deployment(world, place, environment, build).await,
        (Some(_), None) => Ok(()),
        (None, _) => sight.nothing_left(world, place).await,
    };
    let comment = match environment {
        Some(environment) => sight.comment(world, place.project_id, environment).await,
        None => sight.removed(world, place).await,
    };
    deployments.and(comment)
}

/// What may work later is tried again. Anything else is noted: the App was not given the right, or what it is about is
/// gone; what runs needs neither.
fn noted<T>(shown: Result<T, HostError>) -> Result<Option<T>, JobError> {
    match shown {
        Ok(shown) => Ok(Some(shown)),
        Err(HostError::Unavailable { why, .. }) => Err(JobError::Retry(why)),
        Err(error) => {
            tracing::info!(%error, "the git host does not show what is deployed: {error}");
            Ok(None)
        }
    }
}

impl Sight<'_> {
    /// What became of a build in an environment.
    async fn deployment(
        &self,
        world: &World,
        place: Place,
        environment: &Environment,
        build_id: BuildId,
    ) -> Result<(), JobError> {
        let Some(build) = projections::builds::find(&world.pool, build_id).await? else { return Ok(()) };
        let Some(commit) = build.commit.as_deref().and_then(|commit| commit.parse().ok()) else {
            return Ok(());
        };
        let newest = projections::deployments::newest_in(&world.pool, environment.id, build_id).await?;
        let (stage, description) = progress::of(&build, newest.as_ref());
        let state = match stage {
            Stage::Queued => DeploymentState::Queued,
            Stage::Underway => DeploymentState::InProgress,
            Stage::Serving => DeploymentState::Success,
            Stage::Served | Stage::Overtaken => DeploymentState::Inactive,
            Stage::Failed => DeploymentState::Failure,
            Stage::Built => return Ok(()),
        };
        let known = shown::deployment(&world.pool, environment.id, build_id).await?;
        let name = format!("{}/{}", self.settings.slug, environment.slug);
        let shown = HostDeployment {
            build: format!("{}/{build_id}", environment.id),
            commit,
            environment: name.clone(),
            is_production: environment.kind == EnvironmentType::Production,
            is_transient: environment.kind == EnvironmentType::Preview,
            state,
            description,
            url: address(world, place.project_id, environment).await?,
            log_url: page_of(world, build_id),
        };
        let url = shown.url.as_deref().unwrap_or_default();
        let said = format!("{state:?} {} {url}", shown.description);
        let known = match known {
            Some((_, before)) if before == said => return Ok(()),
            known => known.map(|(id, _)| id),
        };
        let told = self.host.show_deployment(self.installation, self.repository, &shown, known).await;
        let Some(host_id) = noted(told)? else { return Ok(()) };
        let is_live = state != DeploymentState::Inactive;
        let (environment_id, project_id) = (environment.id, place.project_id);
        let shown = ShownDeployment { environment_id, build_id, project_id, name, host_id, is_live, said };
        Ok(shown::note_deployment(&world.pool, &shown).await?)
    }

    /// The environment is gone: nothing in it serves.
    async fn nothing_left(&self, world: &World, place: Place) -> Result<(), JobError> {
        let live = shown::live_deployments(&world.pool, place.project_id).await?;
        let here = |it: &ShownDeployment| place.environment_id.is_none_or(|id| id == it.environment_id);
        for gone in live.into_iter().filter(here) {
            let build = projections::builds::find(&world.pool, gone.build_id).await?;
            let commit = build.and_then(|build| build.commit?.parse().ok());
            let Some(commit) = commit else { continue };
            let shown = HostDeployment {
                build: format!("{}/{}", gone.environment_id, gone.build_id),
                commit,
                environment: gone.name.clone(),
                is_production: false,
                is_transient: false,
                state: DeploymentState::Inactive,
                description: "The environment is gone".to_owned(),
                url: None,
                log_url: page_of(world, gone.build_id),
            };
            let known = Some(gone.host_id);
            let told = self.host.show_deployment(self.installation, self.repository, &shown, known).await;
            if let Some(host_id) = noted(told)? {
                let said = shown.description;
                let gone = ShownDeployment { host_id, is_live: false, said, ..gone };
                shown::note_deployment(&world.pool, &gone).await?;
            }
        }
        Ok(())
    }
}

/// Where an environment is reached.
async fn address(
    world: &World,
    project: ProjectId,
    environment: &Environment,
) -> Result<Option<String>, JobError> {
    let slugs = projections::projects::slugs(&world.pool, project).await?;
    let address = |(team, project): (String, String)| {
        world.traffic.address(&world.public_url, (&team, &project, environment.slug.as_str()))
    };
    Ok(slugs.map(address))
}

/// Where there is more about a build.
fn page_of(world: &World, build: BuildId) -> String {
    format!("{}/api/v1/builds/{build}", world.public_url)
}
