//! What was pushed while nobody listened, is found: a reconciler. Hosts do not send again what they could not deliver.
//!
//! It compares what followed branches are at with what was told of them last. What differs comes into the inbox as if
//! it had been told, and goes the way of every delivery. A branch that nothing was told of is only noted: what is
//! pushed from then on is known by that. Pull requests are compared too, where they have previews.

mod pull_requests;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use domain::fact::{Fact, Recorded};
use domain::ids::{DeliveryId, ProjectId};
use domain::ports::git_host::Received;
use domain::project::ProjectEvent;
use domain::push::Nothing;
use domain::values::{BranchName, RepoUrl};
use projections::inbox::{self, Outcome};
use projections::projects::ProjectRow;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::repository::{self, Closed, HOST, active};
use crate::take_delivery::followed;
use crate::{Due, Job, JobError, Process, Work, World};

/// How often it compares.
const EVERY: Duration = Duration::from_secs(300);

/// Compares at once and then every five minutes, until `stop`.
pub async fn find_missed_pushes(world: World, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            compared = compare(&world) => if let Err(error) = compared {
                tracing::warn!(%error, "missed pushes could not be looked for: {error}");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn compare(world: &World) -> Result<(), JobError> {
    let head = projections::log::head(&world.pool).await?;
    world.feed.wait_for(head, Duration::from_secs(60)).await;
    let mut projects = projections::projects::connected(&world.pool).await?;
    for id in projections::repository_access::hooked(&world.pool).await? {
        if !projects.iter().any(|project| project.id == id) {
            projects.extend(projections::projects::find(&world.pool, id).await?);
        }
    }
    for project in projects {
        // One that does not work must not keep the others from it.
        if let Err(error) = look(world, &project).await {
            tracing::warn!(project.id = %project.id, %error, "branches of project {} are not known: {error}", project.id);
        }
    }
    Ok(())
}

/// Who would have told of a push to a project: the host of its installation, or whoever knows its webhook.
async fn teller(world: &World, project: &ProjectRow) -> Result<Option<Received>, JobError> {
    if let (Some(installation), Some(repository)) =
        (active(world, project.team_id, &project.settings).await?, project.settings.repository_id)
    {
        let (installation, repository) = (Some(installation.github_id), Some(repository));
        return Ok(world.host(HOST).map(|_| Received { installation, repository, ..Received::default() }));
    }
    let hooks = projections::repository_access::hooks_of(&world.pool, project.id).await?;
    Ok((!hooks.is_empty()).then(|| Received { project: Some(project.id), ..Received::default() }))
}

async fn look(world: &World, project: &ProjectRow) -> Result<(), JobError> {
    let settings = &project.settings;
    if settings.repo_url.is_none() {
        return Ok(());
    }
    let Some(teller) = teller(world, project).await? else { return Ok(()) };
    let environments = projections::projects::environments(&world.pool, project.id).await?;
    let plain = environments.iter().map(|row| &row.environment).filter(|it| it.branch_pattern.is_none());
    let branches: BTreeSet<&BranchName> = plain.filter_map(|it| followed(it, settings)).collect();
    for branch in branches {
        let of = (project.id, project.team_id);
        let head = match repository::head(world, of, settings, branch).await {
            Ok(Some(head)) => head.to_string(),
            Ok(None) => continue,
            Err(Closed::Git(error)) => return Err(JobError::Retry(error.to_string())),
            Err(Closed::Job(error)) => return Err(error),
        };
        let told = Received {
            kind: "push".to_owned(),
            action: Some("found".to_owned()),
            repository_name: settings.repo_url.as_ref().and_then(name_of),
            reference: Some(format!("refs/heads/{branch}")),
            commit: Some(head.clone()),
            ..teller.clone()
        };
        find(world, project, told, &head).await?;
    }
    let previews = environments.iter().filter_map(|row| row.environment.pull_request.as_ref());
    let previews: Vec<u32> = previews.map(|it| it.number).collect();
    pull_requests::look(world, project, &teller, &previews).await
}

/// Puts a head that nobody told of into the inbox.
async fn find(world: &World, project: &ProjectRow, told: Received, head: &str) -> Result<(), JobError> {
    let (source, body) = match (told.project, world.host(HOST)) {
        (None, Some(host)) => (host.id(), host.tell(&told)),
        (None, None) => return Ok(()),
        (Some(_), _) => world.push_hooks.tell(&told),
    };
    let last = inbox::last_of(&world.pool, source, &told).await?;
    if last.as_ref().is_some_and(|last| last.told.commit.as_deref() == Some(head)) {
        return Ok(());
    }
    // The same find is the same delivery, whoever makes it.
    let after = last.as_ref().map_or_else(|| "nothing".to_owned(), |last| last.id.to_string());
    let of = match told.project {
        Some(project) => project.to_string(),
        None => told.repository.unwrap_or_default().to_string(),
    };
    let told = Received { id: format!("found/{of}/{after}/{head}"), ..told };
    let id = DeliveryId(Uuid::now_v7());
    let now = (world.now)();
    if last.is_some() {
        if inbox::store(&world.pool, id, source, &told, &body, now).await? {
            let reference = told.reference.unwrap_or_default();
            tracing::info!(project.id = %project.id, "a push to {reference} that nobody told of was found");
        }
    } else {
        let seen = Outcome::nothing(Some(project.team_id), Nothing::FirstSeen).of(project.id);
        inbox::note(&world.pool, id, source, &told, &seen, now).await?;
    }
    Ok(())
}

/// The full name in an address: `acme/agent`.
fn name_of(url: &RepoUrl) -> Option<String> {
    let path = match url.as_str().split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.as_str().split_once(':')?.1,
    };
    Some(path.strip_suffix(".git").unwrap_or(path).to_owned())
}

/// Looks at the branches of a project as soon as it follows others.
pub(crate) struct LookAtBranches;

#[async_trait]
impl Process for LookAtBranches {
    fn name(&self) -> &'static str {
        "look_at_branches"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        use ProjectEvent::*;
        let Fact::Project(id, event) = fact else { return None };
        match event {
            ProjectSettingsChanged { settings, .. } if settings.repository_id.is_some() => {}
            // A project begins with its production environment.
            // What a pull request brings is no branch that is followed.
            ProjectEnvironmentCreated { environment } | ProjectEnvironmentChanged { environment, .. }
                if environment.pull_request.is_none() => {}
            ProjectPushHookCreated { .. } => {}
            _ => return None,
        }
        Some(Job {
            key: format!("{id}/{}", recorded.position),
            lane: format!("look_at_branches:{id}"),
            payload: json!({ "project_id": id }),
            due: Due::AtOnce,
        })
    }

    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        #[derive(serde::Deserialize)]
        struct Payload {
            project_id: ProjectId,
        }
        let Payload { project_id } = work.payload()?;
        world.caught_up(work).await?;
        match projections::projects::find(&world.pool, project_id).await? {
            Some(project) => look(world, &project).await,
            None => Ok(()),
        }
    }
}
