//! Previews of pull requests: an environment for each, for a while.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    Environment, EnvironmentType, Project, ProjectCommand, ProjectError, ProjectEvent, ProjectSettings,
    Protection,
};
use crate::ids::EnvironmentId;
use crate::values::{BranchName, CommitSha, InvalidValue};

/// More than anybody looks at; whoever may open pull requests must not fill a project.
const MAX_PREVIEWS: usize = 100;

/// A week.
const TTL_HOURS: u16 = 168;

/// What pull requests of a project get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Previews {
    /// For how many hours after its last push one is kept, 1 to 2160.
    #[serde(default = "Previews::default_ttl")]
    pub ttl_hours: u16,
    /// What those get whose commits are in somebody else's repository.
    #[serde(default)]
    pub forks: Forks,
    /// Whether they have the sensitive variables of the whole project, as production has them. Forks never do.
    #[serde(default)]
    pub production_secrets: bool,
}

/// What pull requests of forks get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forks {
    /// Nothing.
    #[default]
    Never,
    /// A preview of each commit that a person has approved.
    OnApproval,
}

/// The pull request that an environment is the preview of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number in its repository.
    pub number: u32,
    /// The branch it brings; of a fork, whose branches anybody names, the ref that its host keeps of it.
    pub branch: BranchName,
    /// What it is at.
    pub head: CommitSha,
    /// Whether its commits are in somebody else's repository.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_fork: bool,
    /// The commit of a fork that a person has approved last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<CommitSha>,
    /// When the environment is deleted, unless it gets another commit before.
    pub expires_at: DateTime<Utc>,
}

impl Previews {
    fn default_ttl() -> u16 {
        TTL_HOURS
    }

    /// Refuses what is out of bounds; the error names the field.
    ///
    /// # Errors
    /// The field, and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, InvalidValue)> {
        match self.ttl_hours {
            1..=2160 => Ok(()),
            _ => Err(("ttlHours", InvalidValue::new("must be 1 to 2160"))),
        }
    }
}

impl PullRequest {
    /// Whether its commit is built only after somebody has approved it.
    pub fn is_waiting(&self) -> bool {
        self.is_fork && self.approved.as_ref() != Some(&self.head)
    }
}

impl Environment {
    /// Whether the sensitive variables of the whole project are for it. Those of the environment itself always are.
    pub fn has_shared_secrets(&self, settings: &ProjectSettings) -> bool {
        let are_allowed = settings.previews.as_ref().is_some_and(|previews| previews.production_secrets);
        self.pull_request.as_ref().is_none_or(|pull_request| are_allowed && !pull_request.is_fork)
    }
}

impl Project {
    /// The preview of a pull request.
    pub fn preview_of(&self, number: u32) -> Option<&Environment> {
        self.living()?;
        let is_it = |it: &&Environment| it.pull_request.as_ref().is_some_and(|it| it.number == number);
        self.environments.iter().find(is_it)
    }

    pub(super) fn decide_preview(&self, command: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        match command {
            ProjectCommand::KeepPreview { environment_id, pull_request } => {
                self.keep_preview(environment_id, pull_request)
            }
            ProjectCommand::ApprovePreview { environment_id, commit } => {
                let it = self.environment(environment_id).ok_or(ProjectError::UnknownEnvironment)?;
                let of_fork = it.pull_request.as_ref().filter(|it| it.is_fork);
                let pull_request = of_fork.ok_or(ProjectError::NothingToApprove)?;
                if pull_request.head != commit {
                    return Err(ProjectError::PullRequestMoved);
                }
                match pull_request.is_waiting() {
                    true => Ok(vec![ProjectEvent::ProjectPreviewApproved { environment_id, commit }]),
                    false => Ok(vec![]),
                }
            }
            ProjectCommand::ExpirePreview { environment_id, expires_at } => {
                let preview = self.environment(environment_id);
                let is_over = |it: &&Environment| {
                    it.pull_request.as_ref().is_some_and(|it| it.expires_at == expires_at)
                };
                let over = preview.filter(is_over);
                let deleted = |it: &Environment| {
                    let slug = it.slug.clone();
                    ProjectEvent::ProjectEnvironmentDeleted { environment_id, slug }
                };
                Ok(over.map(deleted).into_iter().collect())
            }
            _ => unreachable!("called with a preview only"),
        }
    }

    /// The preview is of what the pull request is at now; only another commit gives it more time.
    fn keep_preview(
        &self,
        id: EnvironmentId,
        pull_request: PullRequest,
    ) -> Result<Vec<ProjectEvent>, ProjectError> {
        if let Some(old) = self.preview_of(pull_request.number) {
            let before = old.pull_request.as_ref().expect("it is the preview of one");
            let same = PullRequest {
                approved: before.approved.clone(),
                expires_at: before.expires_at,
                ..pull_request.clone()
            };
            if same == *before {
                return Ok(vec![]);
            }
            let now = PullRequest { approved: before.approved.clone(), ..pull_request };
            let environment = Environment { pull_request: Some(now), ..old.clone() };
            return Ok(vec![ProjectEvent::ProjectEnvironmentChanged { environment, old: old.clone() }]);
        }
        let slug = format!("pr-{}", pull_request.number).parse().expect("a good slug");
        let is_known = self.gone_environments.contains(&id);
        if is_known || self.environments.iter().any(|other| other.slug == slug || other.id == id) {
            return Err(ProjectError::EnvironmentNameTaken);
        }
        if self.environments.iter().filter(|it| it.pull_request.is_some()).count() >= MAX_PREVIEWS {
            return Err(ProjectError::TooManyPreviews);
        }
        let environment = Environment {
            id,
            name: format!("PR {}", pull_request.number).parse().expect("a good name"),
            slug,
            kind: EnvironmentType::Preview,
            branch: None,
            branch_pattern: None,
            protection: Protection::Public,
            pull_request: Some(PullRequest { approved: None, ..pull_request }),
        };
        Ok(vec![ProjectEvent::ProjectEnvironmentCreated { environment }])
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate;
    use cqrs_es::test::TestFramework;
    use uuid::Uuid;

    use super::super::tests::{created, settings, team, was_set};
    use super::ProjectCommand::*;
    use super::ProjectEvent::*;
    use super::*;
    use crate::testing::sealed;

    const OLD: &str = "0123456789abcdef0123456789abcdef01234567";
    const NEW: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn id() -> EnvironmentId {
        EnvironmentId(Uuid::from_u128(12))
    }

    fn keep(head: &str, is_fork: bool) -> ProjectCommand {
        let pull_request = PullRequest {
            number: 12,
            branch: "main".parse().unwrap(),
            head: head.parse().unwrap(),
            is_fork,
            approved: None,
            expires_at: DateTime::UNIX_EPOCH,
        };
        KeepPreview { environment_id: id(), pull_request }
    }

    /// A project after these commands.
    fn after(commands: Vec<ProjectCommand>) -> Project {
        let mut project = Project::default();
        created().into_iter().for_each(|event| project.apply(event));
        for command in commands {
            project.foresee(command).unwrap().into_iter().for_each(|event| project.apply(event));
        }
        project
    }

    fn approve(commit: &str) -> ProjectCommand {
        ApprovePreview { environment_id: id(), commit: commit.parse().unwrap() }
    }

    #[test]
    fn what_a_fork_pushes_after_an_approval_waits_for_another() {
        let waits =
            |project: &Project| project.preview_of(12).unwrap().pull_request.as_ref().unwrap().is_waiting();
        assert!(waits(&after(vec![keep(OLD, true)])));
        assert!(!waits(&after(vec![keep(OLD, true), approve(OLD)])));
        let moved = after(vec![keep(OLD, true), approve(OLD), keep(NEW, true)]);
        assert!(waits(&moved));
        assert_eq!(moved.foresee(approve(OLD)), Err(ProjectError::PullRequestMoved));
        assert!(!waits(&after(vec![keep(OLD, true), approve(OLD), keep(NEW, true), approve(NEW)])));
        let own = after(vec![keep(OLD, false)]);
        assert!(!waits(&own));
        assert_eq!(own.foresee(approve(OLD)), Err(ProjectError::NothingToApprove));
    }

    #[test]
    fn secrets_of_the_whole_project_are_for_no_preview_unless_allowed_and_for_no_fork() {
        let secret = || was_set("TOKEN", None, sealed("a"), None);
        let own = || was_set("OWN", Some(id()), sealed("b"), None);
        for (allowed, is_fork, keys) in
            [(false, false, "OWN"), (true, false, "OWN TOKEN"), (true, true, "OWN"), (false, true, "OWN")]
        {
            let previews = Previews { ttl_hours: 1, forks: Forks::OnApproval, production_secrets: allowed };
            let settings = ProjectSettings { previews: Some(previews), ..settings("agent") };
            let change = ChangeProjectSettings { settings: Box::new(settings) };
            let mut project = after(vec![change, keep(OLD, is_fork)]);
            [secret(), own()].into_iter().for_each(|event| project.apply(event));
            let held: Vec<_> = project.env_vars_in(id()).iter().map(|it| it.key.to_string()).collect();
            assert_eq!(held.join(" "), keys, "allowed {allowed}, fork {is_fork}");
        }
    }

    #[test]
    fn a_preview_ends_at_the_end_it_has_and_not_at_one_before() {
        let end = |hours| DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(hours);
        let expire = |hours| ExpirePreview { environment_id: id(), expires_at: end(hours) };
        let slug = "pr-12".parse().unwrap();
        let project = after(vec![keep(OLD, false)]);
        assert_eq!(project.foresee(expire(1)), Ok(vec![]));
        let gone = ProjectEnvironmentDeleted { environment_id: id(), slug };
        assert_eq!(project.foresee(expire(0)), Ok(vec![gone]));
        TestFramework::<Project>::with(()).given(created()).when(expire(0)).then_expect_events(vec![]);
        assert_eq!(project.living().unwrap().0, team());
    }
}
