//! Texts and numbers that come from outside, each in a type that refuses what it must.
//!
//! Stored events hold these types too. A check may therefore be loosened later, never tightened: what was
//! stored once must stay readable. Tighter rules need a new type.

mod address;
mod command_line;
mod env_policy;
mod health;
mod names;
mod pattern;
mod resources;
mod source;
mod ssh;

use std::fmt;

pub use address::Email;
pub use command_line::CommandLine;
pub use env_policy::Standing;
pub use health::HealthGate;
pub use names::{DisplayName, EnvKey, PersonName, Slug};
pub use pattern::{BranchPattern, PathFilter};
pub use resources::{ResourcePlan, Resources};
pub use source::{BranchName, CommitSha, RelativePath, RepoUrl};
pub use ssh::{GitUsername, HostKey, SshAddress};

/// Why a value is refused. The sentence begins with what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

impl InvalidValue {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

/// Declares a checked text: parsed by `$parse`, which answers the normal form.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text in its normal form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::values::InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let parse: fn(&str) -> Result<String, $crate::values::InvalidValue> = $parse;
                parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::values::InvalidValue;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text;

#[cfg(test)]
mod tests;
