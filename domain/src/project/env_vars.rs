//! What a project decides about its environment variables.

use cqrs_es::Aggregate;

use super::{Availability, EnvVar, NewEnvVar, Project, ProjectCommand, ProjectError, ProjectEvent};
use crate::ids::EnvironmentId;
use crate::values::{EnvKey, Standing};

/// More would not fit into a process's environment on every system.
const MAX_ENV_VARS: usize = 500;

impl Project {
    /// The variables that hold in an environment: its own before those of the whole project.
    pub fn env_vars_in(&self, id: EnvironmentId) -> Vec<EnvVar> {
        let has_secrets = match (self.living(), self.environment(id)) {
            (Some((_, settings)), Some(environment)) => environment.has_shared_secrets(settings),
            _ => true,
        };
        let own: Vec<_> = self.env_vars.iter().filter(|var| var.environment_id == Some(id)).collect();
        let shared = self
            .env_vars
            .iter()
            .filter(|var| var.environment_id.is_none() && (has_secrets || !var.sensitive))
            .filter(|var| !own.iter().any(|other| other.key == var.key));
        let mut all: Vec<EnvVar> = shared.chain(own.iter().copied()).cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// The events that a command would have, for who tells what it does.
    ///
    /// # Errors
    /// When the project refuses it.
    pub fn foresee(&self, command: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        self.decide(command)
    }

    pub(super) fn decide_env_vars(&self, command: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        use ProjectCommand::*;
        use ProjectEvent::*;
        match command {
            SetEnvVar { key, environment_id, value, sensitive, availability } => {
                self.set_env_var(environment_id, NewEnvVar { key, value, sensitive, availability })
            }
            SetEnvVars { environment_id, vars, replace } => self.set_env_vars(environment_id, vars, replace),
            DeleteEnvVar { key, environment_id } => match self.env_var(&key, environment_id) {
                Some(old) => Ok(vec![ProjectEnvVarDeleted { old: old.clone() }]),
                None => Err(ProjectError::UnknownEnvVar),
            },
            RevealEnvVars { keys } if keys.is_empty() => Ok(vec![]),
            RevealEnvVars { keys } => {
                let is_set = |key: &EnvKey| self.env_vars.iter().any(|var| var.key == *key);
                let known = keys.iter().all(is_set);
                if known {
                    Ok(vec![ProjectEnvVarsRevealed { keys }])
                } else {
                    Err(ProjectError::UnknownEnvVar)
                }
            }
            _ => unreachable!("called with variables only"),
        }
    }

    fn set_env_var(
        &self,
        environment_id: Option<EnvironmentId>,
        NewEnvVar { key, value, sensitive, availability }: NewEnvVar,
    ) -> Result<Vec<ProjectEvent>, ProjectError> {
        match key.standing() {
            Standing::Never(why) => return Err(ProjectError::ReservedEnvVar { key, why }),
            Standing::NotAtBuild(why) if availability.at_build_time() => {
                return Err(ProjectError::EnvVarNotAtBuild { key, why });
            }
            Standing::NotAtBuild(_) | Standing::Allowed => {}
        }
        if environment_id.is_some_and(|id| self.environment(id).is_none()) {
            return Err(ProjectError::UnknownEnvironment);
        }
        let old = self.env_var(&key, environment_id).cloned();
        match &old {
            None if self.env_vars.len() >= MAX_ENV_VARS => return Err(ProjectError::TooManyEnvVars),
            Some(old) if old.is_same(&value.mark, sensitive, availability) => return Ok(vec![]),
            _ => {}
        }
        Ok(vec![ProjectEvent::ProjectEnvVarSet { key, environment_id, value, sensitive, availability, old }])
    }

    /// Deletes what is not among them first, so that there is room for what is new.
    fn set_env_vars(
        &self,
        environment_id: Option<EnvironmentId>,
        vars: Vec<NewEnvVar>,
        replace: bool,
    ) -> Result<Vec<ProjectEvent>, ProjectError> {
        if environment_id.is_some_and(|id| self.environment(id).is_none()) {
            return Err(ProjectError::UnknownEnvironment);
        }
        let here = self.env_vars.iter().filter(|var| replace && var.environment_id == environment_id);
        let mut gone: Vec<_> = here.filter(|old| !vars.iter().any(|var| var.key == old.key)).collect();
        gone.sort_by(|a, b| a.key.cmp(&b.key));
        let deleted = |old: &EnvVar| ProjectEvent::ProjectEnvVarDeleted { old: old.clone() };
        let mut events: Vec<_> = gone.into_iter().map(deleted).collect();
        let mut next = self.clone();
        events.iter().cloned().for_each(|event| next.apply(event));
        for var in vars {
            for event in next.set_env_var(environment_id, var)? {
                next.apply(event.clone());
                events.push(event);
            }
        }
        Ok(events)
    }

    /// The variable of this name and very place.
    pub fn env_var(&self, key: &EnvKey, environment_id: Option<EnvironmentId>) -> Option<&EnvVar> {
        self.env_vars.iter().find(|var| var.key == *key && var.environment_id == environment_id)
    }

    pub(super) fn forget_env_var(&mut self, key: &EnvKey, environment_id: Option<EnvironmentId>) {
        self.env_vars.retain(|var| !(var.key == *key && var.environment_id == environment_id));
    }
}

impl EnvVar {
    fn is_same(&self, mark: &str, sensitive: bool, availability: Availability) -> bool {
        self.mark == mark && self.sensitive == sensitive && self.availability == availability
    }
}
