//! What GitLab, Gitea (also Forgejo) and our own form of a delivery say of a push. Pure.

use domain::ports::git_host::{Received, Unreadable};
use domain::push::{Push, Reference, Tip};
use domain::values::CommitSha;
use serde_json::Value;

use super::Form;

/// As many paths of a push are looked at; beyond that anything may have changed.
const MAX_PATHS: usize = 20_000;

/// What is shown of a delivery; whether it makes sense is for who reads it.
pub(super) fn told(form: Form, payload: &Value) -> Received {
    let text = |value: &Value| {
        let text: String = value.as_str()?.chars().filter(|c| !c.is_control()).take(300).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    let (name, sender) = match form {
        Form::GitLab => (&payload["project"]["path_with_namespace"], &payload["user_username"]),
        Form::Gitea => (&payload["repository"]["full_name"], &payload["pusher"]["login"]),
        Form::Webhook => (&Value::Null, &Value::Null),
    };
    let (reference, commit) = match form {
        Form::Webhook => {
            let branch = text(&payload["branch"]).map(|branch| format!("refs/heads/{branch}"));
            (branch, text(&payload["commitSha"]))
        }
        _ => (text(&payload["ref"]), text(&payload["after"])),
    };
    Received { repository_name: text(name), sender: text(sender), reference, commit, ..Received::default() }
}

/// Our own form: `{"branch": "main", "commitSha": "…", "message": "…", "paths": ["…"]}`, all but the branch optional.
pub(super) fn webhook(payload: &Value) -> Result<Push, Unreadable> {
    let branch = payload["branch"].as_str().ok_or_else(|| Unreadable::new("branch", "is required"))?;
    let branch = branch.parse().map_err(|error| Unreadable::new("branch", error))?;
    let after = match &payload["commitSha"] {
        Value::Null => Tip::Unsaid,
        Value::String(commit) => tip(commit, "commitSha")?,
        _ => return Err(Unreadable::new("commitSha", "must be a commit id")),
    };
    let paths: Option<Vec<String>> = serde_json::from_value(payload["paths"].clone())
        .map_err(|_| Unreadable::new("paths", "must be a list of paths"))?;
    Ok(Push {
        repository: None,
        installation: None,
        reference: Reference::Branch(branch),
        after,
        message: payload["message"].as_str().map(str::to_owned),
        paths: paths.filter(|paths| (1..=MAX_PATHS).contains(&paths.len())),
        sender: None,
    })
}

/// GitLab's "Push Hook" and "Tag Push Hook".
pub(super) fn gitlab(payload: &Value) -> Result<Push, Unreadable> {
    of_refs(payload, &payload["total_commits_count"], &payload["user_username"])
}

/// The `push` of Gitea and Forgejo.
pub(super) fn gitea(payload: &Value) -> Result<Push, Unreadable> {
    of_refs(payload, &payload["total_commits"], &payload["pusher"]["login"])
}

fn of_refs(payload: &Value, total: &Value, sender: &Value) -> Result<Push, Unreadable> {
    let reference = payload["ref"].as_str().ok_or_else(|| Unreadable::new("ref", "is required"))?;
    let after = payload["after"].as_str().ok_or_else(|| Unreadable::new("after", "is required"))?;
    Ok(Push {
        repository: None,
        installation: None,
        reference: match reference.strip_prefix("refs/heads/") {
            Some(name) => Reference::Branch(name.parse().map_err(|error| Unreadable::new("ref", error))?),
            None if reference.starts_with("refs/tags/") => Reference::Tag,
            None if reference.starts_with("refs/") => Reference::Other,
            None => return Err(Unreadable::new("ref", "must be a ref: refs/heads/…")),
        },
        message: message(payload, after),
        paths: paths(payload, total),
        after: tip(after, "after")?,
        sender: sender.as_str().map(str::to_owned),
    })
}

/// A commit of zeros is that of what is gone.
fn tip(commit: &str, field: &str) -> Result<Tip, Unreadable> {
    let parsed: CommitSha = commit.parse().map_err(|error| Unreadable::new(field, error))?;
    Ok(if is_zero(commit) { Tip::Gone } else { Tip::At(parsed) })
}

fn is_zero(commit: &str) -> bool {
    commit.bytes().all(|byte| byte == b'0')
}

/// The message of the new head: one host tells the newest commit first, another last.
fn message(payload: &Value, after: &str) -> Option<String> {
    let commits = payload["commits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let head = commits.iter().find(|commit| commit["id"] == after).unwrap_or(&payload["head_commit"]);
    head["message"].as_str().map(str::to_owned)
}

/// What a push touched; unknown when not every commit is told of, and when the branch is new.
fn paths(payload: &Value, total: &Value) -> Option<Vec<String>> {
    let commits = payload["commits"].as_array()?;
    let is_whole = total.as_u64().is_some_and(|total| total == commits.len() as u64);
    if !is_whole || payload["before"].as_str().is_none_or(is_zero) {
        return None;
    }
    let mut paths = Vec::new();
    for commit in commits {
        let lists = ["added", "modified", "removed"].map(|list| commit[list].as_array());
        if lists.iter().all(Option::is_none) {
            return None;
        }
        let all = lists.into_iter().flatten().flatten();
        paths.extend(all.filter_map(|path| path.as_str().map(str::to_owned)));
    }
    (1..=MAX_PATHS).contains(&paths.len()).then_some(paths)
}
