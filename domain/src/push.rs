//! A push: what it is of, and whether somebody who follows a branch wants it. Pure.

use serde::{Deserialize, Serialize};

use crate::ids::DeliveryId;
use crate::values::{BranchName, BranchPattern, CommitSha, PathFilter};

/// Words in a commit's message that ask for nothing to happen.
const SKIPS: [&str; 5] = ["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"];

/// A ref of a repository that moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The repository's id there; a webhook of one project needs none.
    pub repository: Option<i64>,
    /// The installation that tells of it.
    pub installation: Option<i64>,
    /// What moved.
    pub reference: Reference,
    /// Where it is now.
    pub after: Tip,
    /// The message of that commit.
    pub message: Option<String>,
    /// What was added, modified or removed on the way; unknown when the host does not tell all of it.
    pub paths: Option<Vec<String>>,
    /// Login of who pushed.
    pub sender: Option<String>,
}

/// Where a ref is after a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tip {
    /// At this commit.
    At(CommitSha),
    /// The sender does not say: wherever the host says.
    Unsaid,
    /// It was deleted.
    Gone,
}

/// What can move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A branch.
    Branch(BranchName),
    /// A tag.
    Tag,
    /// Something that nobody follows, as notes.
    Other,
}

/// Why nothing follows from a push, or from another delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each says itself in `detail`")]
pub enum Nothing {
    Tag,
    NotABranch,
    BranchDeleted,
    SkipCi,
    RepositoryNotConnected,
    InstallationNotConnected,
    InstallationInactive,
    RepositoryClosed,
    BranchNotFollowed,
    PathsUnchanged,
    Outdated,
    AlreadyBuilt,
    NewerUpload,
    FirstSeen,
    Ping,
    PullRequest,
    PullRequestOfFork,
    PullRequestClosed,
    WaitsForApproval,
    RepositoryDeleted,
    NoChange,
    NotOfInterest,
    Unreadable,
    Failed,
}

impl Nothing {
    /// The stored word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::NotABranch => "not_a_branch",
            Self::BranchDeleted => "branch_deleted",
            Self::SkipCi => "skip_ci",
            Self::RepositoryNotConnected => "repository_not_connected",
            Self::InstallationNotConnected => "installation_not_connected",
            Self::InstallationInactive => "installation_inactive",
            Self::RepositoryClosed => "repository_closed",
            Self::BranchNotFollowed => "branch_not_followed",
            Self::PathsUnchanged => "paths_unchanged",
            Self::Outdated => "outdated",
            Self::AlreadyBuilt => "already_built",
            Self::NewerUpload => "newer_upload",
            Self::FirstSeen => "first_seen",
            Self::Ping => "ping",
            Self::PullRequest => "pull_request",
            Self::PullRequestOfFork => "pull_request_of_fork",
            Self::PullRequestClosed => "pull_request_closed",
            Self::WaitsForApproval => "waits_for_approval",
            Self::RepositoryDeleted => "repository_deleted",
            Self::NoChange => "no_change",
            Self::NotOfInterest => "not_of_interest",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
        }
    }

    /// The same for people.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Tag => "A tag moved; only branches are followed.",
            Self::NotABranch => "What moved is no branch.",
            Self::BranchDeleted => "The branch was deleted.",
            Self::SkipCi => "The commit's message asks to be skipped.",
            Self::RepositoryNotConnected => "No project is made of this repository.",
            Self::InstallationNotConnected => "This installation is connected to no team.",
            Self::InstallationInactive => {
                "The project's installation is suspended, removed, or another than the one that tells of this."
            }
            Self::RepositoryClosed => "The repository does not open with what is set for the project.",
            Self::BranchNotFollowed => "No environment of the project follows this branch.",
            Self::PathsUnchanged => "Nothing changed that the project's paths name.",
            Self::Outdated => "The branch has moved on: the newer commit is built instead.",
            Self::AlreadyBuilt => "The newest build of the environment is of this commit.",
            Self::NewerUpload => "The environment has had an upload since this was told: that is newer.",
            Self::FirstSeen => {
                "The branch was looked at for the first time; what is pushed from now on is built."
            }
            Self::Ping => "The connection works.",
            Self::PullRequest => "The project makes no previews of pull requests.",
            Self::PullRequestOfFork => "The project makes no previews of what forks bring.",
            Self::PullRequestClosed => "The pull request is closed, and there is no preview of it.",
            Self::WaitsForApproval => "What a fork brings is built when somebody has approved this commit.",
            Self::RepositoryDeleted => {
                "The repository is gone: projects made of it cannot be built any more."
            }
            Self::NoChange => "It was so already.",
            Self::NotOfInterest => "Deliveries of this kind change nothing.",
            Self::Unreadable => "It cannot be understood.",
            Self::Failed => "It could not be worked on, however often that was tried.",
        }
    }
}

/// Who asked for a build without being asked himself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The git host that told of it: `github`; of a project's own webhook the form: `gitlab`, `gitea`, `webhook`.
    pub source: String,
    /// The delivery that it came with.
    pub delivery_id: DeliveryId,
}

impl Push {
    /// The branch and its new head as far as that is said, when anybody could follow it; otherwise why nobody does.
    pub fn head(&self) -> Result<(&BranchName, Option<&CommitSha>), Nothing> {
        let branch = match &self.reference {
            Reference::Branch(branch) => branch,
            Reference::Tag => return Err(Nothing::Tag),
            Reference::Other => return Err(Nothing::NotABranch),
        };
        let after = match &self.after {
            Tip::At(commit) => Some(commit),
            Tip::Unsaid => None,
            Tip::Gone => return Err(Nothing::BranchDeleted),
        };
        let message = self.message.as_deref().unwrap_or_default().to_lowercase();
        if SKIPS.iter().any(|skip| message.contains(skip)) {
            return Err(Nothing::SkipCi);
        }
        Ok((branch, after))
    }

    /// Whether it touches what these paths name. What is not known may.
    pub fn touches(&self, watched: &[PathFilter]) -> bool {
        match &self.paths {
            Some(paths) if !watched.is_empty() => {
                paths.iter().any(|path| PathFilter::any_names(watched, path))
            }
            _ => true,
        }
    }
}

/// Whether a branch is followed by who follows a pattern, or else one of his own.
pub fn follows(pattern: Option<&BranchPattern>, own: Option<&BranchName>, branch: &BranchName) -> bool {
    match (pattern, own) {
        (Some(pattern), _) => pattern.matches(branch),
        (None, own) => own == Some(branch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(branch: &str, message: &str, paths: Option<&[&str]>) -> Push {
        Push {
            repository: Some(1),
            installation: Some(2),
            reference: Reference::Branch(branch.parse().unwrap()),
            after: Tip::At("a".repeat(40).parse().unwrap()),
            message: Some(message.to_owned()),
            paths: paths.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect()),
            sender: None,
        }
    }

    #[test]
    fn what_nobody_follows_says_why() {
        let good = push("feature/#1", "add [skip it]", None);
        assert_eq!(good.head().unwrap().0.as_str(), "feature/#1");
        for (other, why) in [
            (Push { reference: Reference::Tag, ..good.clone() }, Nothing::Tag),
            (Push { reference: Reference::Other, ..good.clone() }, Nothing::NotABranch),
            (Push { after: Tip::Gone, ..good.clone() }, Nothing::BranchDeleted),
            (push("main", "docs [Skip CI]", None), Nothing::SkipCi),
            (push("main", "docs\n\n[ci skip]", None), Nothing::SkipCi),
        ] {
            assert_eq!(other.head(), Err(why));
        }
    }

    #[test]
    fn paths_are_compared_when_they_are_known() {
        let watched = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<PathFilter>>();
        let agent = watched(&["apps/agent/**", "package.json", "!**/*.md"]);
        for (paths, touches) in [
            (&["apps/agent/src/mastra/index.ts"][..], true),
            (&["apps/agent/README.md"], false),
            (&["apps/other/x.ts", "package.json"], true),
            (&["apps/other/package.json"], false),
            (&[], false),
        ] {
            assert_eq!(push("main", "", Some(paths)).touches(&agent), touches, "{paths:?}");
            assert!(push("main", "", Some(paths)).touches(&[]), "without filters everything counts");
        }
        assert!(push("main", "", None).touches(&agent), "what is not known may be what is watched");
    }

    #[test]
    fn a_pattern_is_of_whole_names() {
        let pattern = |text: &str| text.parse::<BranchPattern>().unwrap();
        let branch = |text: &str| text.parse::<BranchName>().unwrap();
        for (text, name, matches) in [
            ("release/*", "release/1", true),
            ("release/*", "release/1/fix", false),
            ("release/**", "release/1/fix", true),
            ("release/*", "prerelease/1", false),
            ("日本*", "日本-1", true),
            ("a&b", "a&b", true),
        ] {
            assert_eq!(follows(Some(&pattern(text)), None, &branch(name)), matches, "{text} {name}");
        }
        assert!(follows(None, Some(&branch("main")), &branch("main")));
        assert!(!follows(None, None, &branch("main")));
    }
}
