//! The rules of previews: a pull request has one at most, of its newest commit, and a fork's is built when a person has
//! approved that very commit.

use chrono::DateTime;
use domain::project::ProjectCommand::*;
use domain::project::ProjectEvent::*;
use domain::project::{Environment, EnvironmentType, ProjectCommand, ProjectError, Protection, PullRequest};
use proptest::prelude::*;

use super::machine::Answer;
use super::project::Rules;
use super::values::{good, ids, texts};

fn commits() -> impl Strategy<Value = domain::values::CommitSha> {
    texts(&["0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"])
}

fn times() -> impl Strategy<Value = chrono::DateTime<chrono::Utc>> {
    (1..3i64).prop_map(|hours| DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(hours))
}

pub(crate) fn previews() -> impl Strategy<Value = ProjectCommand> {
    prop_oneof![
        4 => (ids(9), 7..9u32, commits(), any::<bool>(), times()).prop_map(
            |(environment_id, number, head, is_fork, expires_at)| KeepPreview {
                environment_id,
                pull_request: PullRequest {
                    number, branch: good("topic"), head, is_fork, approved: None, expires_at,
                },
            }
        ),
        3 => (ids(4), commits())
            .prop_map(|(environment_id, commit)| ApprovePreview { environment_id, commit }),
        2 => (ids(4), times())
            .prop_map(|(environment_id, expires_at)| ExpirePreview { environment_id, expires_at }),
    ]
}

impl Rules {
    pub(crate) fn obey_preview(&mut self, command: ProjectCommand) -> Answer<Self> {
        match command {
            KeepPreview { environment_id, pull_request } => {
                let of = |it: &&mut Environment| {
                    it.pull_request.as_ref().is_some_and(|it| it.number == pull_request.number)
                };
                if let Some(known) = self.environments.values_mut().find(of) {
                    let old = known.clone();
                    let is = known.pull_request.as_mut().unwrap();
                    if (&is.head, is.is_fork) == (&pull_request.head, pull_request.is_fork) {
                        return Ok(vec![]);
                    }
                    *is = PullRequest { approved: is.approved.take(), ..pull_request };
                    return Ok(vec![ProjectEnvironmentChanged { environment: known.clone(), old }]);
                }
                let slug = good(&format!("pr-{}", pull_request.number));
                let is_taken = self.environments.contains_key(&environment_id)
                    || self.gone_environments.contains(&environment_id)
                    || self.environments.values().any(|it| it.slug == slug);
                if is_taken {
                    return Err(ProjectError::EnvironmentNameTaken);
                }
                let environment = Environment {
                    id: environment_id,
                    name: good(&format!("PR {}", pull_request.number)),
                    slug,
                    kind: EnvironmentType::Preview,
                    branch: None,
                    branch_pattern: None,
                    protection: Protection::Public,
                    pull_request: Some(pull_request),
                };
                self.environments.insert(environment_id, environment.clone());
                Ok(vec![ProjectEnvironmentCreated { environment }])
            }
            ApprovePreview { environment_id, commit } => {
                let known =
                    self.environments.get_mut(&environment_id).ok_or(ProjectError::UnknownEnvironment)?;
                let of_fork = known.pull_request.as_mut().filter(|it| it.is_fork);
                let it = of_fork.ok_or(ProjectError::NothingToApprove)?;
                if it.head != commit {
                    return Err(ProjectError::PullRequestMoved);
                }
                if it.approved.replace(commit.clone()).is_some_and(|before| before == commit) {
                    return Ok(vec![]);
                }
                Ok(vec![ProjectPreviewApproved { environment_id, commit }])
            }
            ExpirePreview { environment_id, expires_at } => {
                let known = self.environments.get(&environment_id).and_then(|it| it.pull_request.as_ref());
                if known.is_none_or(|it| it.expires_at != expires_at) {
                    return Ok(vec![]);
                }
                self.obey_environment(DeleteEnvironment { environment_id })
            }
            _ => unreachable!("called with previews only"),
        }
    }
}
