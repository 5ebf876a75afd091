//! What a build is made of.

use serde::{Deserialize, Serialize};

use crate::ports::artifacts::Artifact;

/// What a build is made of. Stored: kinds are never renamed, only added to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A commit of the project's repository.
    #[default]
    Repository,
    /// A zip that somebody has uploaded: what `mastra build` wrote on another machine. Of its branch there is only the
    /// word of who sent it.
    Upload(Artifact),
}

impl Source {
    /// Whether it is a commit, as every build was before there was another kind.
    pub fn is_repository(&self) -> bool {
        *self == Self::Repository
    }
}
