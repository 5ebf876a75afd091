//! A pull request → its preview, built of its head; gone with it.
//!
//! Invariant: what is kept, built or removed is what the pull request is by the host's present word: deliveries come late
//! and in any order (ADR 0039). Of a fork nothing is built here that a person has not approved.

use chrono::TimeDelta;
use domain::ids::EnvironmentId;
use domain::ports::git_host::{HostError, HostPullRequest, PullRequestNews};
use domain::project::{Forks, Previews, Project, ProjectCommand, PullRequest};
use domain::push::Nothing;
use projections::inbox::Outcome;
use projections::projects::ProjectRow;
use uuid::Uuid;

use super::{Desk, carried_out};
use crate::JobError;
use crate::repository::active;

impl Desk<'_> {
    pub(super) async fn pull_request(&self, news: &PullRequestNews) -> Result<Vec<Outcome>, JobError> {
        if !news.is_of_interest {
            return self.for_teams(Nothing::NotOfInterest).await;
        }
        let projects = projections::projects::of_repository(&self.world.pool, news.repository).await?;
        let mut outcomes = self.unconnected(&projects).await?;
        for project in &projects {
            outcomes.push(self.preview(project, news).await?);
        }
        if outcomes.is_empty() {
            outcomes.push(Outcome::nothing(None, Nothing::InstallationNotConnected));
        }
        Ok(outcomes)
    }

    async fn preview(&self, project: &ProjectRow, news: &PullRequestNews) -> Result<Outcome, JobError> {
        let nothing = |why| Outcome::nothing(Some(project.team_id), why).of(project.id);
        let known = self.world.commands.load::<Project>(project.id).await?.aggregate;
        let preview = known.preview_of(news.number).map(|environment| environment.id);
        let previews = known.living().and_then(|(_, settings)| settings.previews.clone());
        if previews.is_none() && preview.is_none() {
            return Ok(nothing(Nothing::PullRequest));
        }
        let now = match self.present(project, news).await? {
            Ok(Some(now)) => now,
            Ok(None) => return self.remove(project, preview).await,
            Err(unknown) => return Ok(unknown),
        };
        match previews {
            None => Ok(nothing(Nothing::PullRequest)),
            Some(it) if now.is_fork && it.forks == Forks::Never => Ok(nothing(Nothing::PullRequestOfFork)),
            Some(it) => self.keep(project, news.number, now, &it).await,
        }
    }

    /// The pull request as the host has it now, when it is open; or what came of asking.
    async fn present(
        &self,
        project: &ProjectRow,
        news: &PullRequestNews,
    ) -> Result<Result<Option<HostPullRequest>, Outcome>, JobError> {
        let nothing = |why| Outcome::nothing(Some(project.team_id), why).of(project.id);
        let installation = active(self.world, project.team_id, &project.settings).await?;
        let told = self.delivery.told.installation;
        let installation = installation.filter(|row| told.is_none_or(|id| id == row.github_id));
        let host = self.world.host(&self.delivery.source);
        let (Some(installation), Some(host), Some(repository)) =
            (installation, host, project.settings.hosted())
        else {
            return Ok(Err(nothing(Nothing::InstallationInactive)));
        };
        match host.pull_request(installation.github_id, repository, news.number).await {
            Ok(now) if news.updated_at.is_some_and(|told| told > now.updated_at) => {
                Err(JobError::Retry("the git host does not know yet what it told".to_owned()))
            }
            Ok(now) => Ok(Ok(Some(now).filter(|now| now.is_open))),
            Err(HostError::NotFound(_)) => Ok(Ok(None)),
            Err(HostError::Unavailable { why, .. }) => Err(JobError::Retry(why)),
            Err(refused) => Ok(Err(nothing(Nothing::Failed).saying(refused.to_string()))),
        }
    }

    async fn keep(
        &self,
        project: &ProjectRow,
        number: u32,
        now: HostPullRequest,
        previews: &Previews,
    ) -> Result<Outcome, JobError> {
        let nothing = |why| Outcome::nothing(Some(project.team_id), why).of(project.id);
        let time = projections::work::now(&self.world.pool).await?;
        let HostPullRequest { branch, head, is_fork, .. } = now;
        // A fork's branches have names that anybody chose, and rights may hang on names of branches.
        let branch = match is_fork {
            true => format!("pull/{number}/head").parse().expect("a good branch"),
            false => branch,
        };
        let expires_at = time + TimeDelta::hours(previews.ttl_hours.into());
        let command = ProjectCommand::KeepPreview {
            environment_id: EnvironmentId(Uuid::now_v7()),
            pull_request: PullRequest { number, branch, head, is_fork, approved: None, expires_at },
        };
        let context = self.context(project.team_id);
        if let Err(why) = carried_out(self.world.commands.project(project.id, command, &context).await)? {
            return Ok(nothing(Nothing::Failed).saying(why));
        }
        // Built is what the log says, for that is what approvals are of.
        let kept = self.world.commands.load::<Project>(project.id).await?.aggregate;
        let Some(environment) = kept.preview_of(number) else {
            return Ok(nothing(Nothing::PullRequestClosed));
        };
        match &environment.pull_request {
            Some(it) if !it.is_waiting() => {
                self.build(project, environment, (&it.branch, &it.head), false).await
            }
            _ => Ok(nothing(Nothing::WaitsForApproval).within(environment.id)),
        }
    }

    async fn remove(
        &self,
        project: &ProjectRow,
        preview: Option<EnvironmentId>,
    ) -> Result<Outcome, JobError> {
        let nothing = |why| Outcome::nothing(Some(project.team_id), why).of(project.id);
        let Some(environment_id) = preview else { return Ok(nothing(Nothing::PullRequestClosed)) };
        let context = self.context(project.team_id);
        let command = ProjectCommand::DeleteEnvironment { environment_id };
        match carried_out(self.world.commands.project(project.id, command, &context).await)? {
            Ok(_) => {
                let detail = "The pull request is closed, and its preview is gone.";
                let removed = Outcome::acted(project.team_id, "preview_removed", detail);
                Ok(removed.of(project.id).within(environment_id))
            }
            Err(_) => Ok(nothing(Nothing::PullRequestClosed)),
        }
    }
}
