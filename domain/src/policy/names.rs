//! Names of resources and actions, as they are stored and shown.

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every name.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stored text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What an action is done to.
    Resource {
        /// The team itself.
        Team = "team",
        /// Its members and roles.
        TeamMembers = "team.members",
        /// Its invites.
        TeamInvites = "team.invites",
        /// Its subscription and invoices.
        TeamBilling = "team.billing",
        /// Its GitHub installations.
        TeamInstallations = "team.installations",
        /// Where it is told what happens: webhooks, Slack, mail.
        TeamEndpoints = "team.endpoints",
        /// Projects and their environments.
        Project = "project",
        /// Environment variables.
        ProjectEnvVars = "project.env_vars",
        /// Headers the router adds.
        ProjectHeaders = "project.headers",
        /// Protection of deployed servers.
        ProjectAuth = "project.auth",
        /// API tokens of a project.
        ProjectTokens = "project.tokens",
        /// Builds and deployments.
        Build = "build",
        /// Traces.
        Traces = "observability.traces",
        /// Logs.
        Logs = "observability.logs",
        /// Metrics and scores.
        Metrics = "observability.metrics",
        /// The audit trail.
        Audit = "audit",
        /// All of these.
        Any = "*",
    }
}

names! {
    /// What is done.
    Action {
        /// Make.
        Create = "create",
        /// See.
        Read = "read",
        /// Change.
        Update = "update",
        /// Remove.
        Delete = "delete",
        /// On builds: deploy, stop, restart, cancel, roll back.
        Execute = "execute",
        /// All of the above.
        Manage = "manage",
        /// Everything.
        Any = "*",
    }
}

impl Action {
    /// Whether who may do this may do `other`.
    pub fn implies(self, other: Self) -> bool {
        self == Self::Any || self == other || (self == Self::Manage && other != Self::Any)
    }
}
