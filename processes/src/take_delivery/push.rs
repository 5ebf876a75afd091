//! A push → builds of the environments that follow its branch.
//!
//! Invariant: an environment gets a build of what the branch is at, never of what it was at: deliveries come late and in
//! any order, so the host is asked (ADR 0033). A push that was overtaken has what overtook it built, whose own delivery
//! may ask for nothing: then nobody else would build either (ADR 0038).

use std::collections::HashMap;

use domain::build::{BuildCommand, Source};
use domain::ids::{BuildId, EnvironmentId};
use domain::ports::git::GitError;
use domain::project::{Environment, EnvironmentType, ProjectSettings};
use domain::push::{Nothing, Push, Trigger, follows};
use domain::values::{BranchName, CommitSha};
use projections::builds::BuildRow;
use projections::inbox::{self, Outcome};
use projections::projects::ProjectRow;
use uuid::Uuid;

use super::{Desk, carried_out};
use crate::JobError;
use crate::repository::{self, Closed, active};

/// What a branch is at, by installation: asked once a delivery.
type Heads = HashMap<Option<i64>, Result<CommitSha, Nothing>>;

impl Desk<'_> {
    pub(super) async fn push(&self, push: &Push) -> Result<Vec<Outcome>, JobError> {
        let (branch, after) = match push.head() {
            Ok(head) => head,
            Err(why) => return self.for_teams(why).await,
        };
        let projects = match (self.delivery.told.project, push.repository) {
            (Some(id), _) => Vec::from_iter(projections::projects::find(&self.world.pool, id).await?),
            (None, Some(id)) => projections::projects::of_repository(&self.world.pool, id).await?,
            (None, None) => vec![],
        };
        let mut outcomes = self.unconnected(&projects).await?;
        let mut heads = Heads::new();
        for project in &projects {
            outcomes.extend(self.push_to(project, push, (branch, after), &mut heads).await?);
        }
        if outcomes.is_empty() {
            outcomes.push(Outcome::nothing(None, Nothing::InstallationNotConnected));
        }
        Ok(outcomes)
    }

    async fn push_to(
        &self,
        project: &ProjectRow,
        push: &Push,
        (branch, after): (&BranchName, Option<&CommitSha>),
        heads: &mut Heads,
    ) -> Result<Vec<Outcome>, JobError> {
        let nothing = |why| Outcome::nothing(Some(project.team_id), why).of(project.id);
        // A project's own webhook needs none: its secret is the proof.
        let mut opener = None;
        if self.delivery.told.project.is_none() {
            let row = active(self.world, project.team_id, &project.settings).await?;
            opener = row.map(|row| row.github_id).filter(|it| push.installation.is_none_or(|id| id == *it));
            if opener.is_none() {
                return Ok(vec![nothing(Nothing::InstallationInactive)]);
            }
        }
        let environments = projections::projects::environments(&self.world.pool, project.id).await?;
        let followers: Vec<Environment> = environments
            .into_iter()
            .map(|row| row.environment)
            .filter(|it| follows(it.branch_pattern.as_ref(), followed(it, &project.settings), branch))
            .collect();
        if followers.is_empty() {
            return Ok(vec![nothing(Nothing::BranchNotFollowed)]);
        }
        if !push.touches(&project.settings.watch_paths) {
            return Ok(vec![nothing(Nothing::PathsUnchanged)]);
        }
        let head = match heads.get(&opener) {
            Some(head) => head.clone(),
            None => self.head(project, branch).await?,
        };
        heads.insert(opener, head.clone());
        let head = match head {
            Err(why) => return Ok(vec![nothing(why)]),
            Ok(head) => head,
        };
        let is_overtaken = after.is_some_and(|after| head != *after);
        if is_overtaken && self.is_first_seen(&head).await? {
            return Ok(vec![nothing(Nothing::Outdated).saying(outdated(&head))]);
        }
        let mut outcomes = Vec::with_capacity(followers.len());
        for environment in &followers {
            outcomes.push(self.build(project, environment, (branch, &head), is_overtaken).await?);
        }
        Ok(outcomes)
    }

    /// Whether a branch is still at what it was at when it was looked at for the first time: then a push of anything
    /// else was before that, or was taken back.
    async fn is_first_seen(&self, head: &CommitSha) -> Result<bool, JobError> {
        let (source, told) = (&self.delivery.source, &self.delivery.told);
        Ok(inbox::is_first_seen(&self.world.pool, source, told, head.as_str()).await?)
    }

    /// What a branch is at now.
    async fn head(
        &self,
        project: &ProjectRow,
        branch: &BranchName,
    ) -> Result<Result<CommitSha, Nothing>, JobError> {
        let of = (project.id, project.team_id);
        match repository::head(self.world, of, &project.settings, branch).await {
            Ok(Some(head)) => Ok(Ok(head)),
            Ok(None) => Ok(Err(Nothing::BranchDeleted)),
            Err(Closed::Git(GitError::Unreachable(why))) => Err(JobError::Retry(why)),
            Err(Closed::Git(_)) if self.delivery.told.project.is_some() => Ok(Err(Nothing::RepositoryClosed)),
            Err(Closed::Git(_)) => Ok(Err(Nothing::InstallationInactive)),
            Err(Closed::Job(error)) => Err(error),
        }
    }

    pub(super) async fn build(
        &self,
        project: &ProjectRow,
        environment: &Environment,
        (branch, commit): (&BranchName, &CommitSha),
        is_overtaken: bool,
    ) -> Result<Outcome, JobError> {
        let nothing =
            |why| Outcome::nothing(Some(project.team_id), why).of(project.id).within(environment.id);
        let newest = projections::builds::newest(&self.world.pool, environment.id).await?;
        if let Some(newest) = &newest
            && newest.commit.as_deref() == Some(commit.as_str())
            && newest.branch == branch.as_str()
            && newest.deploy
        {
            // Of a try before this one, whose end was not written down.
            if newest.trigger.as_ref().is_some_and(|trigger| trigger.delivery_id == self.delivery.id) {
                return Ok(self.requested(project, environment.id, newest.id));
            }
            let already = match is_overtaken {
                true => nothing(Nothing::Outdated).saying(outdated(commit)),
                false => nothing(Nothing::AlreadyBuilt),
            };
            return Ok(Outcome { build_id: Some(newest.id), ..already });
        }
        // The host may have been away for long, or the lane busy, while somebody sent what he has.
        let came_later = |it: &BuildRow| self.delivery.log_head.is_some_and(|then| it.requested > then);
        if let Some(newest) = newest.filter(|it| it.upload.is_some() && came_later(it))
            && newest.status == "ready"
        {
            return Ok(Outcome { build_id: Some(newest.id), ..nothing(Nothing::NewerUpload) });
        }
        // Something else may have been wanted since, as an upload or an older commit.
        if is_overtaken && projections::builds::was_built(&self.world.pool, environment.id, commit).await? {
            return Ok(nothing(Nothing::Outdated).saying(outdated(commit)));
        }
        let command = BuildCommand::RequestBuild {
            team_id: project.team_id,
            project_id: project.id,
            environment_id: environment.id,
            environment_type: environment.kind,
            branch: branch.clone(),
            commit: Some(commit.clone()),
            source: Source::Repository,
            deploy: true,
            trigger: Some(Trigger { source: self.delivery.source.clone(), delivery_id: self.delivery.id }),
        };
        let context = self.context(project.team_id).once(&format!("build/{}", environment.id)).of_new();
        let id = BuildId(Uuid::now_v7());
        match carried_out(self.world.commands.build(id, command, &context).await)? {
            Ok(receipt) => {
                let id = receipt.aggregate_id.parse().unwrap_or(id);
                Ok(self.requested(project, environment.id, id))
            }
            Err(why) => Ok(nothing(Nothing::Failed).saying(why)),
        }
    }

    fn requested(&self, project: &ProjectRow, environment: EnvironmentId, build: BuildId) -> Outcome {
        let outcome = Outcome::acted(project.team_id, "build_requested", "A build was asked for.");
        Outcome { build_id: Some(build), ..outcome.of(project.id).within(environment) }
    }
}

fn outdated(head: &CommitSha) -> String {
    format!("{} It is at {head} by now.", Nothing::Outdated.detail())
}

/// The one branch that an environment follows: its own or the project's. A preview has its own or none.
pub(crate) fn followed<'a>(it: &'a Environment, project: &'a ProjectSettings) -> Option<&'a BranchName> {
    let of_project = (it.kind != EnvironmentType::Preview).then_some(&project.branch);
    it.branch.as_ref().or(of_project)
}
