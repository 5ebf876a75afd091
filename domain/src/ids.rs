//! Every id of the product, each a type of its own, so that one can never be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

id! {
    /// A person who can sign in.
    UserId,
    /// A team: the tenant.
    TeamId,
    /// An invite of one address into one team.
    InviteId,
    /// A connection of a team to an installation of the GitHub App.
    InstallationId,
    /// A project: one Mastra application in one repository.
    ProjectId,
    /// A place where a project runs: production, staging or a preview.
    EnvironmentId,
    /// A sealed value: an environment variable's value as it was set once.
    SecretId,
    /// A personal or project API token.
    TokenId,
    /// One build of one commit.
    BuildId,
    /// One artifact put to run in one environment.
    DeploymentId,
    /// A custom role of a team.
    RoleId,
    /// A role given to a user in a scope.
    AssignmentId,
    /// A sign-in that has not ended.
    SessionId,
    /// One event of the log.
    EventId,
    /// One record of access: a denied command, a failed sign-in, an export.
    AccessId,
    /// One operation: what an operator did to the platform itself.
    OperationId,
    /// A webhook by which a git host tells a project of pushes: a part of its address.
    HookId,
    /// One delivery of a webhook.
    DeliveryId,
    /// Where a team wants to be told what happens.
    EndpointId,
    /// One message to an endpoint.
    OutboundId,
    /// One row of work of a process.
    WorkId,
    /// One request, webhook delivery or run of a process.
    RequestId,
}
