//! What routes need from who asks.

use domain::policy::{Action, Resource};

/// What a route needs from who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Public,
    /// A person, signed in or by a personal token.
    SignedIn,
    /// Some credential, be it a person's or a project's token: the handler shows what it lets see.
    Credential,
    /// A project's token that may send telemetry, or the token of a deployment's server.
    Sender,
    /// A right in the team named by `{team}`.
    Team(Resource, Action),
    /// A right in the team named by `{team}`, also when it is closed: then that of who had it before.
    ClosedTeam(Resource, Action),
    /// A right in the team named by the header `x-organization-id`.
    NamedTeam(Resource, Action),
    /// As `Team`; and to see the team is enough for who is named by `{user}`.
    TeamOrSelf(Resource, Action),
    /// A right in the team named by `{team}`, or only in that project of it which `?projectId=` names.
    TeamPart(Resource, Action),
    /// A right in the team of the custom role named by `{role}`.
    Role(Resource, Action),
    /// A right in the team of the installation named by `{installation}`.
    Installation(Resource, Action),
    /// A right in the team of the endpoint named by `{endpoint}`.
    Endpoint(Resource, Action),
    /// A right where the role assignment named by `{assignment}` holds.
    Assignment(Resource, Action),
    /// A right in the `scope` of the command, or of a question that `?teamId=` or `?projectId=` gives; everywhere
    /// without either. To see that scope is enough for who is named by `{user}`.
    Given(Resource, Action),
    /// A right in the project, or else the team, of the event named by `{event}`.
    Cause(Resource, Action),
    /// A right in the project named by `{project}`.
    Project(Resource, Action),
    /// A right in the project named by `{project}`, which may have gone.
    AnyProject(Resource, Action),
    /// A right in the project of the environment named by `{environment}`.
    Environment(Resource, Action),
    /// A right in the project of the build named by `{build}`.
    Build(Resource, Action),
    /// A right in the team of the event named by `{position}`.
    Event(Resource, Action),
    /// A right in the project of the deployment named by `{deployment}`.
    Deployment(Resource, Action),
}

impl Needs {
    /// The right alone; none where nothing or a person is enough.
    pub(crate) fn right(self) -> Option<(Resource, Action)> {
        match self {
            Self::Public | Self::SignedIn | Self::Credential | Self::Sender => None,
            Self::Team(resource, action)
            | Self::ClosedTeam(resource, action)
            | Self::NamedTeam(resource, action)
            | Self::TeamOrSelf(resource, action)
            | Self::TeamPart(resource, action)
            | Self::Role(resource, action)
            | Self::Installation(resource, action)
            | Self::Endpoint(resource, action)
            | Self::Assignment(resource, action)
            | Self::Given(resource, action)
            | Self::Cause(resource, action)
            | Self::Event(resource, action)
            | Self::Project(resource, action)
            | Self::AnyProject(resource, action)
            | Self::Environment(resource, action)
            | Self::Build(resource, action)
            | Self::Deployment(resource, action) => Some((resource, action)),
        }
    }
}
