//! Who may do what: one pure function over grants, resource, action and context.

mod builtin;
mod cover;
mod names;
mod verdict;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{BuildId, EnvironmentId, ProjectId, TeamId, UserId};

pub use builtin::BuiltinRole;
pub use cover::covers;
pub use names::{Action, Resource};
pub use verdict::{Bar, Finding, Holding, Source, Verdict, explain};

/// One permission of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// On what.
    pub resource: Resource,
    /// What.
    pub action: Action,
    /// Only where all of these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A condition over the request's context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Which field: `teamId`, `projectId`, `environment`, `branch`, `buildId`, `userId`, `ip`.
    pub field: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what: a text, a list of texts, or for `exists` a boolean.
    pub value: ConditionValue,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal, or absent.
    Neq,
    /// One of.
    In,
    /// None of, or absent.
    Nin,
    /// Present (`true`) or absent (`false`).
    Exists,
}

/// What a condition compares with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConditionValue {
    /// For `exists`.
    Flag(bool),
    /// For `eq` and `neq`.
    Text(String),
    /// For `in` and `nin`.
    List(Vec<String>),
}

/// Where a role holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Scope {
    /// Everywhere.
    Global,
    /// In a team and all its projects.
    Team {
        /// That team.
        team_id: TeamId,
    },
    /// In one project.
    Project {
        /// That project.
        project_id: ProjectId,
    },
}

/// Permissions that somebody holds in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where.
    pub scope: Scope,
    /// What.
    pub permissions: Vec<Permission>,
}

/// What the request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The team, of a project too.
    pub team_id: Option<TeamId>,
    /// The project.
    pub project_id: Option<ProjectId>,
    /// The environment.
    pub environment: Option<EnvironmentId>,
    /// The branch.
    pub branch: Option<String>,
    /// The build.
    pub build_id: Option<BuildId>,
    /// Who asks.
    pub user_id: Option<UserId>,
    /// From where.
    pub ip: Option<IpAddr>,
}

/// Whether the grants allow the action on the resource in this context.
pub fn allows(grants: &[Grant], resource: Resource, action: Action, context: &Context) -> bool {
    grants
        .iter()
        .filter(|grant| grant.scope.covers(context))
        .flat_map(|grant| &grant.permissions)
        .any(|permission| permission.allows(resource, action, context))
}

impl Scope {
    /// Whether what holds here holds there.
    pub fn covers(&self, context: &Context) -> bool {
        match self {
            Self::Global => true,
            Self::Team { team_id } => context.team_id == Some(*team_id),
            Self::Project { project_id } => context.project_id == Some(*project_id),
        }
    }
}

impl Permission {
    /// A permission without conditions.
    pub fn new(resource: Resource, action: Action) -> Self {
        Self { resource, action, conditions: vec![] }
    }

    fn allows(&self, resource: Resource, action: Action, context: &Context) -> bool {
        (self.resource == Resource::Any || self.resource == resource)
            && self.action.implies(action)
            && self.conditions.iter().all(|condition| condition.holds(context))
    }
}

impl Condition {
    /// The fields that a condition can be about.
    pub const FIELDS: [&'static str; 7] =
        ["teamId", "projectId", "environment", "branch", "buildId", "userId", "ip"];

    /// Whether it can be decided: a field that there is, and a value that its operator compares with.
    pub fn is_sound(&self) -> bool {
        let fits = matches!(
            (self.operator, &self.value),
            (Operator::Eq | Operator::Neq, ConditionValue::Text(_))
                | (Operator::In | Operator::Nin, ConditionValue::List(_))
                | (Operator::Exists, ConditionValue::Flag(_))
        );
        fits && Self::FIELDS.contains(&self.field.as_str())
    }

    fn holds(&self, context: &Context) -> bool {
        self.holds_for(context.field(&self.field))
    }

    /// Whether it holds where its field has this value, or none.
    fn holds_for(&self, actual: Option<String>) -> bool {
        match (self.operator, &self.value) {
            (Operator::Eq, ConditionValue::Text(text)) => actual.as_ref() == Some(text),
            (Operator::Neq, ConditionValue::Text(text)) => actual.as_ref() != Some(text),
            (Operator::In, ConditionValue::List(list)) => actual.is_some_and(|actual| list.contains(&actual)),
            (Operator::Nin, ConditionValue::List(list)) => {
                actual.is_none_or(|actual| !list.contains(&actual))
            }
            (Operator::Exists, ConditionValue::Flag(flag)) => actual.is_some() == *flag,
            // A condition that makes no sense never grants anything.
            _ => false,
        }
    }
}

impl Context {
    fn field(&self, name: &str) -> Option<String> {
        match name {
            "teamId" => self.team_id.map(|id| id.to_string()),
            "projectId" => self.project_id.map(|id| id.to_string()),
            "environment" => self.environment.map(|id| id.to_string()),
            "branch" => self.branch.clone(),
            "buildId" => self.build_id.map(|id| id.to_string()),
            "userId" => self.user_id.map(|id| id.to_string()),
            "ip" => self.ip.map(|ip| ip.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
