//! A project: one Mastra application in one repository, with environments, variables and API tokens.
//!
//! Invariants: a living project has one production environment. Environments of a project differ in their
//! slugs. A reserved variable is never set.

mod command;
mod env_vars;
mod error;
mod event;
mod preview;
mod repository;
mod settings;

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::claim::{Claim, ClaimScope};
use crate::fact::{Fact, Stored};
use crate::ids::{EnvironmentId, ProjectId, TeamId, TokenId};
use crate::values::{BranchName, DisplayName, Slug};

pub use command::ProjectCommand;
pub use error::ProjectError;
pub use event::ProjectEvent;
pub use preview::{Forks, Previews, PullRequest};
pub use repository::{DeployKey, RepositoryToken};
pub use settings::{
    Availability, EnvVar, Environment, EnvironmentType, MAX_REPLICAS, NewEnvVar, ProjectSettings, Protection,
    TokenScope,
};

/// Only what is needed to decide, and to freeze the variables of a deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Project {
    born: Option<(TeamId, ProjectSettings)>,
    deleted: bool,
    environments: Vec<Environment>,
    /// Never again an environment of these ids.
    gone_environments: BTreeSet<EnvironmentId>,
    env_vars: Vec<EnvVar>,
    tokens: BTreeSet<TokenId>,
    /// Never again a token of these ids.
    revoked_tokens: BTreeSet<TokenId>,
    /// What opens its repository, and who tells of pushes.
    access: repository::Access,
}

impl Project {
    /// Team and settings of a living project.
    pub fn living(&self) -> Option<(TeamId, &ProjectSettings)> {
        let (team_id, settings) = self.born.as_ref()?;
        (!self.deleted).then_some((*team_id, settings))
    }

    /// Team and settings of a project, also of one that is deleted.
    pub fn ever(&self) -> Option<(TeamId, &ProjectSettings)> {
        self.born.as_ref().map(|(team_id, settings)| (*team_id, settings))
    }

    /// A living project's environment.
    pub fn environment(&self, id: EnvironmentId) -> Option<&Environment> {
        self.living()?;
        self.environments.iter().find(|environment| environment.id == id)
    }

    fn decide(&self, command: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        use ProjectCommand::*;
        use ProjectEvent::*;
        let Some((team_id, old)) = self.born.clone() else {
            return match command {
                CreateProject { team_id, settings, production } => Ok(create(team_id, *settings, production)),
                _ => Err(ProjectError::Unknown),
            };
        };
        match command {
            DeleteProject if self.deleted => Ok(vec![]),
            _ if self.deleted => Err(ProjectError::Unknown),
            CreateProject { team_id: t, settings, .. } if t == team_id && *settings == old => Ok(vec![]),
            CreateProject { .. } => Err(ProjectError::Exists),
            ChangeProjectSettings { settings } if *settings == old => Ok(vec![]),
            ChangeProjectSettings { settings } => {
                Ok(vec![ProjectSettingsChanged { team_id, settings: *settings, old }])
            }
            DeleteProject => Ok(vec![ProjectDeleted { team_id, slug: old.slug }]),
            CreateEnvironment { environment_id, name, kind, branch } => {
                self.create_environment(environment_id, name, kind, branch)
            }
            change @ ChangeEnvironment { .. } => self.change_environment(change),
            DeleteEnvironment { environment_id } => match self.environment(environment_id) {
                None => Err(ProjectError::UnknownEnvironment),
                Some(it) if it.kind == EnvironmentType::Production => Err(ProjectError::ProductionIsFixed),
                Some(it) => Ok(vec![ProjectEnvironmentDeleted { environment_id, slug: it.slug.clone() }]),
            },
            KeepPreview { .. } | ApprovePreview { .. } | ExpirePreview { .. } => self.decide_preview(command),
            SetEnvVar { .. } | SetEnvVars { .. } | DeleteEnvVar { .. } | RevealEnvVars { .. } => {
                self.decide_env_vars(command)
            }
            CreateProjectToken { .. } | RotateProjectToken { .. } | RevokeProjectToken { .. } => {
                self.decide_token(command)
            }
            SetRepositoryToken { .. }
            | RemoveRepositoryToken
            | MakeDeployKey { .. }
            | RemoveDeployKey
            | PinHostKeys { .. }
            | CreatePushHook { .. }
            | RotatePushHook { .. }
            | DeletePushHook { .. } => self.access.decide(command),
        }
    }

    fn decide_token(&self, command: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        use ProjectCommand::*;
        use ProjectEvent::*;
        match command {
            CreateProjectToken { token_id, .. } if self.knows_token(token_id) => Ok(vec![]),
            CreateProjectToken {
                token_id,
                name,
                hash,
                prefix,
                last_four,
                scopes,
                ip_allowlist,
                expires_at,
            } => {
                let last_four = Some(last_four);
                Ok(vec![ProjectTokenCreated {
                    token_id,
                    name,
                    hash,
                    prefix,
                    last_four,
                    scopes,
                    ip_allowlist,
                    expires_at,
                }])
            }
            RotateProjectToken { token_id, .. } if !self.tokens.contains(&token_id) => {
                Err(ProjectError::UnknownToken)
            }
            RotateProjectToken { token_id, hash, prefix, last_four, overlap_until, expires_at } => {
                Ok(vec![ProjectTokenRotated { token_id, hash, prefix, last_four, overlap_until, expires_at }])
            }
            RevokeProjectToken { token_id } if self.tokens.contains(&token_id) => {
                Ok(vec![ProjectTokenRevoked { token_id }])
            }
            RevokeProjectToken { .. } => Err(ProjectError::UnknownToken),
            _ => unreachable!("called with a token only"),
        }
    }

    fn create_environment(
        &self,
        id: EnvironmentId,
        name: DisplayName,
        kind: EnvironmentType,
        branch: Option<BranchName>,
    ) -> Result<Vec<ProjectEvent>, ProjectError> {
        if self.environment(id).is_some() || self.gone_environments.contains(&id) {
            return Ok(vec![]);
        }
        if kind == EnvironmentType::Production {
            return Err(ProjectError::ProductionIsFixed);
        }
        let slug = Slug::from_name(name.as_str()).ok_or(ProjectError::EnvironmentNameTaken)?;
        if self.environments.iter().any(|other| other.slug == slug) {
            return Err(ProjectError::EnvironmentNameTaken);
        }
        let environment = Environment {
            id,
            name,
            slug,
            kind,
            branch,
            branch_pattern: None,
            protection: Protection::Public,
            pull_request: None,
        };
        Ok(vec![ProjectEvent::ProjectEnvironmentCreated { environment }])
    }

    fn change_environment(&self, change: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        let ProjectCommand::ChangeEnvironment {
            environment_id: id,
            name,
            branch,
            branch_pattern,
            protection,
        } = change
        else {
            unreachable!("called with a change only")
        };
        let old = self.environment(id).ok_or(ProjectError::UnknownEnvironment)?.clone();
        let environment = Environment {
            name: name.unwrap_or_else(|| old.name.clone()),
            branch: branch.unwrap_or_else(|| old.branch.clone()),
            branch_pattern: branch_pattern.unwrap_or_else(|| old.branch_pattern.clone()),
            protection: protection.unwrap_or(old.protection),
            ..old.clone()
        };
        if environment == old {
            return Ok(vec![]);
        }
        Ok(vec![ProjectEvent::ProjectEnvironmentChanged { environment, old }])
    }

    fn knows_token(&self, id: TokenId) -> bool {
        self.tokens.contains(&id) || self.revoked_tokens.contains(&id)
    }
}

fn create(team_id: TeamId, settings: ProjectSettings, production: EnvironmentId) -> Vec<ProjectEvent> {
    let environment = Environment {
        id: production,
        name: "Production".parse().expect("a good name"),
        slug: "production".parse().expect("a good slug"),
        kind: EnvironmentType::Production,
        branch: None,
        branch_pattern: None,
        protection: Protection::Public,
        pull_request: None,
    };
    vec![
        ProjectEvent::ProjectCreated { team_id, settings },
        ProjectEvent::ProjectEnvironmentCreated { environment },
    ]
}

impl Aggregate for Project {
    const TYPE: &'static str = "project";
    type Command = ProjectCommand;
    type Event = ProjectEvent;
    type Error = ProjectError;
    type Services = ();

    async fn handle(
        &mut self,
        command: ProjectCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ProjectError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ProjectEvent) {
        use ProjectEvent::*;
        match event {
            ProjectCreated { team_id, settings } | ProjectSettingsChanged { team_id, settings, .. } => {
                self.born = Some((team_id, settings));
            }
            ProjectDeleted { .. } => self.deleted = true,
            ProjectEnvironmentCreated { environment } => self.environments.push(environment),
            ProjectEnvironmentChanged { environment, .. } => {
                self.environments.retain(|other| other.id != environment.id);
                self.environments.push(environment);
            }
            ProjectEnvironmentDeleted { environment_id, .. } => {
                self.environments.retain(|other| other.id != environment_id);
                self.env_vars.retain(|var| var.environment_id != Some(environment_id));
                self.gone_environments.insert(environment_id);
            }
            ProjectPreviewApproved { environment_id, commit } => {
                let preview = self.environments.iter_mut().find(|it| it.id == environment_id);
                if let Some(pull_request) = preview.and_then(|it| it.pull_request.as_mut()) {
                    pull_request.approved = Some(commit);
                }
            }
            ProjectEnvVarSet { key, environment_id, value, sensitive, availability, .. } => {
                self.forget_env_var(&key, environment_id);
                let (value_id, mark) = (value.id, value.mark);
                self.env_vars.push(EnvVar { key, environment_id, value_id, mark, sensitive, availability });
            }
            ProjectEnvVarsRevealed { .. } | ProjectTokenRotated { .. } => {}
            ProjectEnvVarDeleted { old } => self.forget_env_var(&old.key, old.environment_id),
            ProjectTokenCreated { token_id, .. } => {
                self.tokens.insert(token_id);
            }
            ProjectTokenRevoked { token_id } => {
                self.tokens.remove(&token_id);
                self.revoked_tokens.insert(token_id);
            }
            opens @ (ProjectRepositoryTokenSet { .. }
            | ProjectRepositoryTokenRemoved { .. }
            | ProjectDeployKeyMade { .. }
            | ProjectDeployKeyRemoved { .. }
            | ProjectHostKeysPinned { .. }
            | ProjectPushHookCreated { .. }
            | ProjectPushHookRotated { .. }
            | ProjectPushHookDeleted { .. }) => self.access.apply(opens),
        }
    }
}

impl Stored for Project {
    type Id = ProjectId;
    /// 6: it knows which environments it had.
    const STATE_VERSION: i32 = 6;

    fn claims(_: ProjectId, event: &ProjectEvent) -> Vec<Claim> {
        use ProjectEvent::*;
        let key = |team: &TeamId, slug: &Slug| format!("{team}/{slug}");
        match event {
            ProjectCreated { team_id, settings } => {
                vec![Claim::take(ClaimScope::ProjectSlug, key(team_id, &settings.slug))]
            }
            ProjectSettingsChanged { team_id, settings, old } if settings.slug != old.slug => vec![
                Claim::free(ClaimScope::ProjectSlug, key(team_id, &old.slug)),
                Claim::take(ClaimScope::ProjectSlug, key(team_id, &settings.slug)),
            ],
            ProjectDeleted { team_id, slug } => {
                vec![Claim::free(ClaimScope::ProjectSlug, key(team_id, slug))]
            }
            _ => vec![],
        }
    }

    fn fact(id: ProjectId, event: ProjectEvent) -> Fact {
        Fact::Project(id, event)
    }
}

#[cfg(test)]
mod tests;
