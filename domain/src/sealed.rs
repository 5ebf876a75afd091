//! Values that the log holds only as ciphertext: secrets of projects and data of persons.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{EndpointId, InviteId, ProjectId, SecretId, UserId};

/// A value as ciphertext under the key of its owner. Destroying that key erases it everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Names this sealing; bound into the ciphertext, so that it cannot be moved to another value.
    pub id: SecretId,
    /// Whose key opens it.
    pub key: KeyOwner,
    /// Base64 of version, nonce, ciphertext and tag (AES-256-GCM).
    pub data: String,
    /// Keyed hash of the plain value under the same key: equal values have equal marks. Says nothing else.
    pub mark: String,
}

impl Sealed {
    /// Whether both hold the same value.
    pub fn same_value(&self, other: &Self) -> bool {
        self.key == other.key && self.mark == other.mark
    }
}

/// Whose key seals a value. Written as `user:ID`, `project:ID`, `invite:ID`, `endpoint:ID` or `system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyOwner {
    /// A person: names, e-mail, addresses.
    User(UserId),
    /// A project: values of environment variables.
    Project(ProjectId),
    /// Somebody who was invited and is not a user yet.
    Invite(InviteId),
    /// Where a team is told what happens: its address and its secret.
    Endpoint(EndpointId),
    /// The installation: what belongs to nobody else.
    System,
}

impl fmt::Display for KeyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Project(id) => write!(f, "project:{id}"),
            Self::Invite(id) => write!(f, "invite:{id}"),
            Self::Endpoint(id) => write!(f, "endpoint:{id}"),
            Self::System => f.write_str("system"),
        }
    }
}

impl FromStr for KeyOwner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("unknown key owner {text:?}");
        let Some((kind, id)) = text.split_once(':') else {
            return if text == "system" { Ok(Self::System) } else { Err(unknown()) };
        };
        match kind {
            "user" => id.parse().map(Self::User).map_err(|_| unknown()),
            "project" => id.parse().map(Self::Project).map_err(|_| unknown()),
            "invite" => id.parse().map(Self::Invite).map_err(|_| unknown()),
            "endpoint" => id.parse().map(Self::Endpoint).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for KeyOwner {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyOwner> for String {
    fn from(owner: KeyOwner) -> String {
        owner.to_string()
    }
}

/// What sealed values are for. Bound into every ciphertext: never changed.
pub mod purpose {
    use crate::ids::EnvironmentId;
    use crate::values::EnvKey;

    /// A user's address.
    pub const USER_EMAIL: &str = "user.email";
    /// A user's first name.
    pub const USER_FIRST_NAME: &str = "user.first_name";
    /// A user's last name.
    pub const USER_LAST_NAME: &str = "user.last_name";
    /// Address of a user's picture.
    pub const USER_PHOTO_URL: &str = "user.photo_url";
    /// The address that an invite is for.
    pub const INVITE_EMAIL: &str = "invite.email";
    /// The secret of an invite, until its mail is sent.
    pub const INVITE_TOKEN: &str = "invite.token";
    /// The address of an endpoint.
    pub const ENDPOINT_URL: &str = "endpoint.url";
    /// What messages to an endpoint are signed with.
    pub const ENDPOINT_SECRET: &str = "endpoint.secret";
    /// What somebody narrowed an export of the audit trail to.
    pub const AUDIT_FILTER: &str = "audit.filter";
    /// The private half of a deploy key.
    pub const DEPLOY_KEY: &str = "repository.deploy_key";
    /// The secret of a webhook of a project.
    pub const PUSH_HOOK: &str = "push_hook.secret";
    /// Purpose of the keyed hash of an address.
    pub const EMAIL_HASH: &str = "email";

    /// Purpose of the keyed hash of where somebody was seen.
    pub const PLACE: &str = "place";

    /// The token that opens a repository at a host, and at no other.
    pub fn repository_token(host: &str) -> String {
        format!("repository.token/{host}")
    }

    /// The value of an environment variable.
    pub fn env_var(environment: Option<EnvironmentId>, key: &EnvKey) -> String {
        match environment {
            Some(environment) => format!("env_var/{environment}/{key}"),
            None => format!("env_var/all/{key}"),
        }
    }
}
