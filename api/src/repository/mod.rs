//! `GET /projects/{project}/repository` and below it — what opens a project's repository.

mod deploy_key;
mod host_keys;
mod token;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chrono::{DateTime, Utc};
use domain::values::{HostKey, RepoUrl};
use projections::projects::ProjectRow;
use projections::repository_access::{self, AccessRow};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::resource;
use crate::shape;

pub(crate) use deploy_key::{make as make_deploy_key, remove as remove_deploy_key};
pub(crate) use host_keys::{pin as pin_host_keys, scan};
pub(crate) use token::{remove as remove_token, set as set_token};

/// What opens a repository, as the API shows it: nothing of it opens anything.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RepositoryAccess)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    /// Null when all code is uploaded.
    #[schema(value_type = Option<shape::RepoUrl>)]
    repo_url: Option<&'a RepoUrl>,
    /// The host that it is at, with its port when it is not the usual one. None of a path on the server.
    host: Option<String>,
    /// What opens it over https.
    token: Option<Token<'a>>,
    /// What opens it over ssh.
    deploy_key: Option<Key>,
    /// The deploy key before, as long as it is used besides.
    old_deploy_key: Option<Key>,
    /// The keys that the ssh server is known by.
    host_keys: Vec<PublicKey>,
    /// The ssh server that they are of; they count only while the repository is there.
    host_keys_of: Option<&'a str>,
}

/// The token of a repository, without itself.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RepositoryToken)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Token<'a> {
    /// The only host that it is sent to.
    host: &'a str,
    username: Option<&'a str>,
    /// Equal for equal tokens of this project.
    fingerprint: &'a str,
    updated_at: Option<DateTime<Utc>>,
}

/// A key pair of a project: its public half.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeployKey)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Key {
    /// As OpenSSH writes it: `ssh-ed25519 AAAA…`.
    public_key: String,
    /// As OpenSSH shows it: `SHA256:…`.
    fingerprint: String,
    created_at: Option<DateTime<Utc>>,
    /// From when on it is used no more.
    used_until: Option<DateTime<Utc>>,
}

/// A public key.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicKey {
    /// As OpenSSH writes it: `ssh-ed25519 AAAA…`.
    public_key: String,
    /// As OpenSSH shows it: `SHA256:…`.
    fingerprint: String,
}

impl PublicKey {
    fn of(key: &HostKey) -> Self {
        let hash = Sha256::digest(STANDARD.decode(key.base64()).unwrap_or_default());
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(hash));
        Self { public_key: key.to_string(), fingerprint }
    }
}

pub(crate) async fn show(project: Scoped<ProjectRow>) -> Result<Response, ApiError> {
    let row = repository_access::of_project(project.view(), project.it.id).await?;
    let now = project.caller().at();
    Ok(resource(view(&project.it, &row, now), project.it.version))
}

/// The repository as it is after a command.
async fn shown(platform: &Platform, project: &ProjectRow, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let row = repository_access::of_project(&platform.pool, project.id).await?;
    Ok(view(project, &row, now))
}

pub(crate) fn view(project: &ProjectRow, row: &AccessRow, now: DateTime<Utc>) -> Value {
    let key = |public: &Option<String>, created_at, used_until| {
        let PublicKey { public_key, fingerprint } = PublicKey::of(&public.as_ref()?.parse().ok()?);
        Some(Key { public_key, fingerprint, created_at, used_until })
    };
    let old_until = row.old_key_until.filter(|until| now < *until);
    json!(View {
        repo_url: project.settings.repo_url.as_ref(),
        host: project.settings.repo_url.as_ref().and_then(RepoUrl::host),
        token: row.token.as_ref().zip(row.token_host.as_deref()).map(|(token, host)| Token {
            host,
            username: row.token_username.as_deref(),
            fingerprint: &token.mark,
            updated_at: row.token_at,
        }),
        deploy_key: key(&row.key_public, row.key_at, None),
        old_deploy_key: old_until.and_then(|until| key(&row.old_key_public, None, Some(until))),
        host_keys: row.known_keys.iter().map(PublicKey::of).collect(),
        host_keys_of: row.known_host.as_deref().filter(|_| !row.known_keys.is_empty()),
    })
}

/// The host that something is for: the one that is named, or that of the project's repository, which must be read over
/// ssh or must not.
fn host(project: &ProjectRow, named: Option<&str>, over_ssh: bool) -> Result<String, ApiError> {
    let scheme = if over_ssh { "ssh://git@" } else { "https://" };
    if let Some(named) = named {
        let is_plain = named.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b));
        let url = format!("{scheme}{named}/x").parse::<RepoUrl>().ok().filter(|_| is_plain);
        let wanted = "must be a host, with its port when it is not the usual one";
        return url.and_then(|url| url.host()).ok_or_else(|| ApiError::field("host", "invalid", wanted));
    }
    let url = project.settings.repo_url.as_ref().filter(|url| url.ssh().is_some() == over_ssh);
    let wanted = format!("is required: the repository is not at {scheme}…");
    url.and_then(RepoUrl::host).ok_or_else(|| ApiError::field("host", "required", wanted))
}

impl Platform {
    /// What a project's repository opens with, once a command has changed it.
    async fn changed(
        &self,
        project: &Scoped<ProjectRow>,
        command: domain::project::ProjectCommand,
    ) -> Result<crate::reply::Done, ApiError> {
        let receipt = self.commands.project(project.it.id, command, &project.context()).await?;
        crate::reply::Done::new(self, http::StatusCode::OK, receipt, async || {
            shown(self, &project.it, project.caller().at()).await
        })
        .await
    }
}

/// The state that every handler here takes.
type Wired = State<Arc<Platform>>;
