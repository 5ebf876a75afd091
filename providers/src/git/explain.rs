//! Turns what git says into words for the project's owner: without paths of this machine, without
//! credentials.

use domain::ports::git::{GitError, Repository};

/// Signs of an address that is wrong or closed to us. Several hosts say "not found" for both.
const NO_ACCESS: [&str; 11] = [
    "could not read Username",
    "could not read Password",
    "Authentication failed",
    "Invalid username or",
    "error: 401",
    "error: 403",
    "error: 404",
    "not found",
    "does not appear to be a git repository",
    "Permission denied (",
    "Too many authentication failures",
];
/// Signs that the host has no such commit.
const NO_COMMIT: [&str; 3] = ["not our ref", "unadvertised object", "couldn't find remote ref"];
const MOVED: [&str; 5] = ["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"];
/// What the text of one failure is cut to.
const MAX_TEXT: usize = 300;

/// Why git failed, from its standard error.
pub(super) fn explain(stderr: &str, repository: &Repository) -> GitError {
    let url = &repository.url;
    let says = |signs: &[&str]| signs.iter().any(|sign| stderr.contains(sign));
    if stderr.contains("Host key verification failed") {
        return GitError::NotAllowed(format!(
            "the ssh server of {url} shows another key than those pinned for the project: it was replaced, or \
             somebody is in between"
        ));
    }
    if says(&MOVED) {
        return GitError::NotAllowed(format!(
            "{url} redirects to another address: enter the final one (often only `.git` is missing at \
             its end)"
        ));
    }
    if stderr.contains("transport '") && stderr.contains("not allowed") {
        return GitError::NotAllowed(format!("the operator does not allow repositories like {url}"));
    }
    if stderr.contains("No space left on device") {
        return GitError::NoSpace;
    }
    if stderr.contains("fsck") || stderr.contains("invalid path") || stderr.contains("hasDot") {
        return GitError::NotAllowed(format!(
            "{url} holds objects that git refuses as dangerous or damaged: {}",
            reason(stderr).unwrap_or_default()
        ));
    }
    if says(&NO_ACCESS) {
        return GitError::NoAccess(url.to_string());
    }
    GitError::Unreachable(match reason(stderr) {
        Some(reason) => reason,
        None => "git gave no reason".to_owned(),
    })
}

/// Whether the host refused to send one commit by its id, so that fetching all branches is worth a try.
pub(super) fn refuses_ids(stderr: &str) -> bool {
    ["unadvertised object", "dumb http transport", "does not support shallow", "no such remote ref"]
        .iter()
        .any(|sign| stderr.contains(sign))
}

/// Whether the host says that it has no such commit.
pub(super) fn lacks_commit(stderr: &str) -> bool {
    NO_COMMIT.iter().any(|sign| stderr.contains(sign))
}

/// The first complaint of git itself (never of the host: `remote:` lines are its free text), with every word
/// that holds a path of this machine left out.
fn reason(stderr: &str) -> Option<String> {
    let line = stderr.lines().find_map(|line| {
        line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")).filter(|line| !line.is_empty())
    })?;
    let words =
        line.split_whitespace().filter(|word| !word.trim_start_matches(['\'', '"', '(']).starts_with('/'));
    let text: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
    Some(text.chars().take(MAX_TEXT).collect())
}
