//! The built-in roles: the matrix of the product, once.

use serde::{Deserialize, Serialize};

use super::{Action, Permission, Resource};
use crate::project::TokenScope;
use crate::team::MemberRole;

use Action::{Create, Delete, Execute, Read, Update};
use Resource::{
    Audit, Build, Logs, Metrics, Project, ProjectAuth, ProjectEnvVars, ProjectHeaders, ProjectTokens, Team,
    TeamBilling, TeamEndpoints, TeamInstallations, TeamInvites, TeamMembers, Traces,
};

/// A role that every installation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BuiltinRole {
    /// Everything in a team.
    #[serde(rename = "team:owner")]
    TeamOwner,
    /// Everything but deleting the team and its billing.
    #[serde(rename = "team:admin")]
    TeamAdmin,
    /// Makes projects and deploys.
    #[serde(rename = "team:developer")]
    TeamDeveloper,
    /// Reads.
    #[serde(rename = "team:viewer")]
    TeamViewer,
    /// Everything in one project.
    #[serde(rename = "project:admin")]
    ProjectAdmin,
    /// Builds and deploys one project.
    #[serde(rename = "project:deployer")]
    ProjectDeployer,
    /// Reads one project.
    #[serde(rename = "project:viewer")]
    ProjectViewer,
}

const CRUD: &[Action] = &[Create, Read, Update, Delete];
const CRUDX: &[Action] = &[Create, Read, Update, Delete, Execute];
const R: &[Action] = &[Read];

type Row = (&'static [Resource], &'static [Action]);

const TELEMETRY: &[Resource] = &[Traces, Logs, Metrics];
const SETTINGS: &[Resource] = &[ProjectEnvVars, ProjectHeaders, ProjectAuth, ProjectTokens];
const PEOPLE: &[Resource] = &[TeamMembers, TeamInvites];
const PLUMBING: &[Resource] = &[TeamBilling, TeamInstallations];

const OWNER: &[Row] = &[
    (&[Team], CRUD),
    (PEOPLE, CRUD),
    (PLUMBING, CRUD),
    (&[TeamEndpoints], CRUD),
    (&[Project], CRUD),
    (SETTINGS, CRUD),
    (&[Build], CRUDX),
    (TELEMETRY, R),
    (&[Audit], R),
];
const ADMIN: &[Row] = &[
    (&[Team], &[Read, Update]),
    (PEOPLE, CRUD),
    (PLUMBING, R),
    (&[TeamEndpoints], CRUD),
    (&[Project], CRUD),
    (SETTINGS, CRUD),
    (&[Build], CRUDX),
    (TELEMETRY, R),
    (&[Audit], R),
];
const DEVELOPER: &[Row] = &[
    (&[Team], R),
    (PEOPLE, R),
    (&[Project], &[Create, Read, Update]),
    (SETTINGS, CRUD),
    (&[Build], &[Create, Read, Execute]),
    (TELEMETRY, R),
];
const VIEWER: &[Row] = &[(&[Team], R), (PEOPLE, R), (&[Project], R), (&[Build], R), (TELEMETRY, R)];
const PROJECT_ADMIN: &[Row] = &[
    (&[Project], &[Read, Update, Delete]),
    (SETTINGS, CRUD),
    (&[Build], CRUDX),
    (TELEMETRY, R),
    (&[Audit], R),
];
const PROJECT_DEPLOYER: &[Row] = &[(&[Project], R), (&[Build], &[Create, Read, Execute]), (TELEMETRY, R)];
const PROJECT_VIEWER: &[Row] = &[(&[Project], R), (&[Build], R), (TELEMETRY, R)];

impl BuiltinRole {
    /// Every built-in role.
    pub const ALL: [Self; 7] = [
        Self::TeamOwner,
        Self::TeamAdmin,
        Self::TeamDeveloper,
        Self::TeamViewer,
        Self::ProjectAdmin,
        Self::ProjectDeployer,
        Self::ProjectViewer,
    ];

    /// The stored text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TeamOwner => "team:owner",
            Self::TeamAdmin => "team:admin",
            Self::TeamDeveloper => "team:developer",
            Self::TeamViewer => "team:viewer",
            Self::ProjectAdmin => "project:admin",
            Self::ProjectDeployer => "project:deployer",
            Self::ProjectViewer => "project:viewer",
        }
    }

    /// The role with this stored text.
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// One sentence for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::TeamOwner => "Full control over the team and all its projects",
            Self::TeamAdmin => "Manages team settings, members and projects",
            Self::TeamDeveloper => "Creates and manages projects, deploys builds",
            Self::TeamViewer => "Reads everything but secrets",
            Self::ProjectAdmin => "Full control over one project",
            Self::ProjectDeployer => "Deploys and manages builds of one project",
            Self::ProjectViewer => "Reads one project",
        }
    }

    /// What it allows.
    pub fn permissions(self) -> Vec<Permission> {
        let rows = match self {
            Self::TeamOwner => OWNER,
            Self::TeamAdmin => ADMIN,
            Self::TeamDeveloper => DEVELOPER,
            Self::TeamViewer => VIEWER,
            Self::ProjectAdmin => PROJECT_ADMIN,
            Self::ProjectDeployer => PROJECT_DEPLOYER,
            Self::ProjectViewer => PROJECT_VIEWER,
        };
        rows.iter()
            .flat_map(|(resources, actions)| {
                resources
                    .iter()
                    .flat_map(|resource| actions.iter().map(|action| Permission::new(*resource, *action)))
            })
            .collect()
    }
}

impl From<MemberRole> for BuiltinRole {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Owner => Self::TeamOwner,
            MemberRole::Admin => Self::TeamAdmin,
            MemberRole::Developer => Self::TeamDeveloper,
            MemberRole::Viewer => Self::TeamViewer,
        }
    }
}

impl TokenScope {
    /// What a project token with this scope allows in its project. Sending telemetry is no permission of a
    /// person, so `telemetry:write` is asked for by its name at the ingest routes.
    pub fn permissions(self) -> Vec<Permission> {
        match self {
            Self::Deploy => BuiltinRole::ProjectDeployer
                .permissions()
                .into_iter()
                .filter(|permission| !TELEMETRY.contains(&permission.resource))
                .collect(),
            Self::TelemetryRead => {
                TELEMETRY.iter().map(|resource| Permission::new(*resource, Read)).collect()
            }
            Self::TelemetryWrite => vec![],
            Self::Read => vec![Permission::new(Project, Read), Permission::new(Build, Read)],
        }
    }
}
