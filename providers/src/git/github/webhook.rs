//! What GitHub sends: its signature, its headers, its payloads. Pure.

use domain::ports::git_host::{
    Headers, HostNews, InstallationChange, PullRequestNews, ReceiveError, Received, RepositoryChange,
    Unreadable,
};
use domain::push::{Push, Reference, Tip};
use domain::secret::Secret;
use domain::values::RepoUrl;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

/// As many paths of a push are looked at; beyond that anything may have changed.
const MAX_PATHS: usize = 20_000;

/// Proves a delivery by its signature and says what it is.
pub(super) fn receive(
    secret: Option<&Secret>,
    header: &Headers<'_>,
    body: &[u8],
) -> Result<Received, ReceiveError> {
    let secret = secret.ok_or(ReceiveError::Closed)?;
    let signature = header("x-hub-signature-256").ok_or(ReceiveError::Unproved("there is no signature"))?;
    if !is_signed(secret, body, &signature) {
        return Err(ReceiveError::Unproved("the signature is not that of the body"));
    }
    let malformed = |field: &str, why: &str| ReceiveError::Malformed(Unreadable::new(field, why));
    let id = header("x-github-delivery").unwrap_or_default();
    if !(1..=100).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("X-GitHub-Delivery", "must be the id of the delivery"));
    }
    let kind = header("x-github-event").unwrap_or_default();
    if !(1..=64).contains(&kind.len()) || !kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    {
        return Err(malformed("X-GitHub-Event", "must be the name of an event"));
    }
    let payload: Value = serde_json::from_slice(body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| malformed("body", "must be a JSON object: the App must send application/json"))?;
    let text = |value: &Value| {
        let text: String = value.as_str()?.chars().filter(|c| !c.is_control()).take(300).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    let pull_request = (kind == "pull_request").then(|| pull_request_head(&payload)).flatten();
    let (reference, commit) = match pull_request {
        Some((reference, commit)) => (Some(reference), text(commit)),
        None => (text(&payload["ref"]), text(&payload["after"])),
    };
    Ok(Received {
        id,
        kind,
        action: text(&payload["action"]),
        installation: payload["installation"]["id"].as_i64(),
        repository: payload["repository"]["id"].as_i64(),
        project: None,
        repository_name: text(&payload["repository"]["full_name"]),
        reference,
        commit,
        sender: text(&payload["sender"]["login"]),
    })
}

/// The ref that the host keeps of a pull request, and what it is at; only when the delivery is of interest: what is known
/// of a pull request is what its last such delivery told.
fn pull_request_head(payload: &Value) -> Option<(String, &Value)> {
    let number = payload["number"].as_u64()?;
    let is_of_interest = is_of_interest(payload["action"].as_str()?);
    is_of_interest.then(|| (format!("refs/pull/{number}/head"), &payload["pull_request"]["head"]["sha"]))
}

fn is_of_interest(action: &str) -> bool {
    matches!(action, "opened" | "reopened" | "synchronize" | "closed")
}

/// In constant time.
fn is_signed(secret: &Secret, body: &[u8], signature: &str) -> bool {
    let Some(signature) = signature.strip_prefix("sha256=").and_then(|hex| hex::decode(hex).ok()) else {
        return false;
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

#[derive(Deserialize)]
struct Commit {
    added: Option<Vec<String>>,
    modified: Option<Vec<String>>,
    removed: Option<Vec<String>>,
}

/// What a delivery tells.
pub(super) fn read(web: &Url, kind: &str, body: &[u8]) -> Result<HostNews, Unreadable> {
    let payload: Value = serde_json::from_slice(body)
        .map_err(|error| Unreadable::new("body", format!("is no JSON: {error}")))?;
    let action = payload["action"].as_str().unwrap_or_default();
    Ok(match kind {
        "push" => HostNews::Push(push(&payload)?),
        "pull_request" => HostNews::PullRequest(pull_request(&payload, action)?),
        "installation" => installation(&payload, action)?,
        "repository" => repository(web, &payload, action)?,
        "ping" => HostNews::Ping,
        _ => HostNews::Other,
    })
}

fn push(payload: &Value) -> Result<Push, Unreadable> {
    let reference = payload["ref"].as_str().ok_or_else(|| Unreadable::new("ref", "is required"))?;
    let after = payload["after"].as_str().ok_or_else(|| Unreadable::new("after", "is required"))?;
    let after = after.parse().map_err(|error| Unreadable::new("after", error))?;
    let is_deleted = payload["deleted"].as_bool().unwrap_or(false) || is_zero(payload);
    Ok(Push {
        repository: Some(id_of(payload, "repository")?),
        installation: payload["installation"]["id"].as_i64(),
        reference: match reference.strip_prefix("refs/heads/") {
            Some(name) => Reference::Branch(name.parse().map_err(|error| Unreadable::new("ref", error))?),
            None if reference.starts_with("refs/tags/") => Reference::Tag,
            None if reference.starts_with("refs/") => Reference::Other,
            None => return Err(Unreadable::new("ref", "must be a ref: refs/heads/…")),
        },
        after: if is_deleted { Tip::Gone } else { Tip::At(after) },
        message: payload["head_commit"]["message"].as_str().map(str::to_owned),
        paths: paths(payload),
        sender: payload["sender"]["login"].as_str().map(str::to_owned),
    })
}

/// What it brings is asked for when it is worked on: that it changed is enough.
fn pull_request(payload: &Value, action: &str) -> Result<PullRequestNews, Unreadable> {
    let number = payload["number"].as_u64().and_then(|number| number.try_into().ok());
    let updated_at = payload["pull_request"]["updated_at"].as_str();
    Ok(PullRequestNews {
        repository: id_of(payload, "repository")?,
        number: number.ok_or_else(|| Unreadable::new("number", "must be the number of a pull request"))?,
        is_of_interest: is_of_interest(action),
        updated_at: updated_at.and_then(|time| time.parse().ok()),
    })
}

/// The commit of what is gone.
fn is_zero(payload: &Value) -> bool {
    payload["after"].as_str().is_some_and(|after| after.bytes().all(|byte| byte == b'0'))
}

/// What a push touched; unknown when GitHub does not tell of each commit, and when a branch is new or was bent: then
/// the commits are not all that changed.
fn paths(payload: &Value) -> Option<Vec<String>> {
    if payload["created"] == true || payload["forced"] == true {
        return None;
    }
    let commits: Vec<Commit> = serde_json::from_value(payload["commits"].clone()).ok()?;
    let mut paths = Vec::new();
    for commit in commits {
        let lists = [commit.added, commit.modified, commit.removed];
        if lists.iter().all(Option::is_none) {
            return None;
        }
        paths.extend(lists.into_iter().flatten().flatten());
    }
    (1..=MAX_PATHS).contains(&paths.len()).then_some(paths)
}

fn installation(payload: &Value, action: &str) -> Result<HostNews, Unreadable> {
    let change = match action {
        "suspend" => InstallationChange::Suspended,
        "deleted" => InstallationChange::Removed,
        "created" | "unsuspend" | "new_permissions_accepted" => InstallationChange::Active,
        _ => return Ok(HostNews::Other),
    };
    Ok(HostNews::Installation { id: id_of(payload, "installation")?, change })
}

fn repository(web: &Url, payload: &Value, action: &str) -> Result<HostNews, Unreadable> {
    let change = match action {
        "renamed" | "transferred" => {
            let name = payload["repository"]["full_name"].as_str().unwrap_or_default();
            let odd = || Unreadable::new("repository.full_name", "must be a name as acme/agent");
            let name = Some(name).filter(|name| is_full_name(name)).ok_or_else(odd)?;
            RepositoryChange::Moved(repo_url(web, name)?)
        }
        "deleted" => RepositoryChange::Deleted,
        _ => RepositoryChange::Other,
    };
    Ok(HostNews::Repository { id: id_of(payload, "repository")?, change })
}

fn id_of(payload: &Value, what: &str) -> Result<i64, Unreadable> {
    payload[what]["id"].as_i64().ok_or_else(|| Unreadable::new(format!("{what}.id"), "must be a number"))
}

/// Whether a text is a repository's name with its owner's: nothing in it means anything to a path or to git.
pub(super) fn is_full_name(name: &str) -> bool {
    let good = |part: &str| {
        (1..=100).contains(&part.len())
            && !part.starts_with('-')
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.split_once('/').is_some_and(|(owner, name)| good(owner) && good(name))
}

/// The address of a repository as projects have it.
pub(super) fn repo_url(web: &Url, full_name: &str) -> Result<RepoUrl, Unreadable> {
    let host = web.host_str().unwrap_or_default();
    let port = web.port().map_or_else(String::new, |port| format!(":{port}"));
    let url = format!("https://{host}{port}/{full_name}.git");
    url.parse().map_err(|error| Unreadable::new("repository.full_name", error))
}

/// The delivery that GitHub would have sent of a branch's head, or of a pull request.
pub(super) fn tell(told: &Received) -> Vec<u8> {
    let mut payload = json!({
        "repository": { "id": told.repository, "full_name": told.repository_name },
        "installation": { "id": told.installation },
    });
    let number =
        told.reference.as_deref().and_then(|it| it.strip_prefix("refs/pull/")?.strip_suffix("/head"));
    match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(number) => {
            payload["action"] = json!(told.action);
            payload["number"] = number.into();
            payload["pull_request"] = json!({ "number": number, "head": { "sha": told.commit } });
        }
        None => {
            payload["ref"] = json!(told.reference);
            payload["after"] = json!(told.commit);
        }
    }
    payload.to_string().into_bytes()
}
