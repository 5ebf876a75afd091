//! The parts of a project that are compared, each as the API shows it.

use domain::fact::Fact;
use domain::ids::ProjectId;
use domain::policy::{Action, Resource};
use domain::project::ProjectEvent;
use domain::role::RoleEvent;
use domain::team::TeamEvent;
use projections::tokens::TokenRow;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::Fields;
use crate::{env_vars, environments, projects, tokens};

/// A part of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Settings,
    Environments,
    EnvVars,
    Tokens,
    Roles,
    Deployments,
}

/// What is no property: it names the thing, or changes with every other change.
const NO_FIELDS: [&str; 7] = ["id", "key", "environment", "projectId", "teamId", "createdAt", "updatedAt"];

impl Part {
    pub(super) const ALL: [Self; 6] =
        [Self::Settings, Self::Environments, Self::EnvVars, Self::Tokens, Self::Roles, Self::Deployments];

    /// What one must be allowed to see it.
    pub(super) fn needs(self) -> (Resource, Action) {
        let resource = match self {
            Self::Settings | Self::Environments => Resource::Project,
            Self::EnvVars => Resource::ProjectEnvVars,
            Self::Tokens => Resource::ProjectTokens,
            Self::Roles => Resource::TeamMembers,
            Self::Deployments => Resource::Build,
        };
        (resource, Action::Read)
    }

    /// The parts that may be different after it. One too many costs a query, one too few hides who did it.
    pub(super) fn touched_by(fact: &Fact) -> &'static [Self] {
        use ProjectEvent::*;
        match fact {
            Fact::Team(_, TeamEvent::TeamDeleted { .. }) | Fact::Project(_, ProjectDeleted { .. }) => {
                &Self::ALL
            }
            Fact::Team(_, TeamEvent::TeamClosed { .. } | TeamEvent::TeamReopened {}) => &[Self::Settings],
            Fact::Team(_, TeamEvent::TeamMemberRemoved { .. }) => &[Self::Roles, Self::Tokens],
            Fact::RoleAssignment(..) | Fact::Role(_, RoleEvent::RoleDeleted { .. }) => &[Self::Roles],
            Fact::Project(_, event) => match event {
                ProjectCreated { .. } | ProjectSettingsChanged { .. } => &[Self::Settings],
                ProjectEnvironmentDeleted { .. } => &[Self::Environments, Self::EnvVars],
                ProjectEnvironmentCreated { .. }
                | ProjectEnvironmentChanged { .. }
                | ProjectPreviewApproved { .. } => &[Self::Environments],
                ProjectEnvVarSet { .. } | ProjectEnvVarDeleted { .. } => &[Self::EnvVars],
                ProjectTokenCreated { .. } | ProjectTokenRotated { .. } | ProjectTokenRevoked { .. } => {
                    &[Self::Tokens]
                }
                _ => &[],
            },
            Fact::Deployment(..) => &[Self::Deployments],
            _ => &[],
        }
    }

    /// Its fields, as the tables of this connection have them.
    pub(super) async fn load(self, db: &mut PgConnection, id: ProjectId) -> sqlx::Result<Fields> {
        let mut fields = Fields::new();
        match self {
            Self::Settings => {
                if let Some(row) = projections::projects::find(db, id).await? {
                    add(&mut fields, "project", id.to_string(), projects::show::view(&row));
                }
            }
            Self::Environments => {
                for row in projections::projects::environments(db, id).await? {
                    add(&mut fields, "environment", row.environment.id.to_string(), environments::view(&row));
                }
            }
            Self::EnvVars => {
                for row in projections::env_vars::of_project(db, id).await? {
                    let place = row.environment_id.map(|id| format!("@{id}")).unwrap_or_default();
                    add(&mut fields, "env_var", format!("{}{place}", row.key), env_vars::view(&row));
                }
            }
            Self::Tokens => {
                for row in projections::tokens::of_project(db, id).await? {
                    add(&mut fields, "token", row.id.to_string(), token(&row));
                }
            }
            Self::Roles => {
                for row in projections::roles::of_project(db, id).await? {
                    let view = json!({ "userId": row.user_id, "roleId": row.role });
                    add(&mut fields, "role_assignment", row.id.to_string(), view);
                }
            }
            // In every environment the last one that runs is the active one.
            Self::Deployments => {
                for row in projections::deployments::all_running(db).await? {
                    let view = json!({ "activeDeploymentId": row.id, "activeBuildId": row.build_id });
                    add(&mut fields, "environment", row.environment_id.to_string(), view);
                }
            }
        }
        Ok(fields)
    }
}

/// That it was used is no change.
fn token(row: &TokenRow) -> Value {
    let mut view = json!(tokens::view(row));
    view.as_object_mut().expect("it is an object").remove("lastUsedAt");
    view
}

fn add(fields: &mut Fields, resource: &'static str, id: String, view: Value) {
    let Value::Object(view) = view else { return };
    for (field, value) in view {
        if !value.is_null() && !NO_FIELDS.contains(&field.as_str()) {
            fields.insert((resource, id.clone(), field), value);
        }
    }
}
