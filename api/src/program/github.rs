//! GitHub and git, as the settings say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use domain::ports::git_host::GitHost;
use domain::secret::Secret;
use providers::git::command::{GitCommand, GitConfig};
use providers::git::github::{GitHub, GitHubConfig};
use providers::git::ssh::SshConfig;
use providers::programs;
use url::Url;

use super::config::Config;
use super::secrets::Secrets;
use super::settings::Settings;

/// What the settings say about GitHub; absent when they say nothing.
pub(super) fn read(
    given: &Settings,
    file: &Settings,
    secrets: &Secrets,
) -> anyhow::Result<Option<GitHubConfig>> {
    let text = |given: &Option<String>, file: &Option<String>| {
        given.clone().or_else(|| file.clone()).filter(|text| !text.is_empty())
    };
    let key_file = given.github_private_key_file.clone().or_else(|| file.github_private_key_file.clone());
    let key = private_key(secrets.github_private_key.clone(), key_file)?;
    let app = match (given.github_app_id.or(file.github_app_id), key) {
        (Some(id), Some(key)) => Some((id, key)),
        (None, None) => None,
        (Some(_), None) => {
            bail!("MASTRA_ADMIN_GITHUB_APP_ID needs MASTRA_ADMIN_GITHUB_PRIVATE_KEY, or …_KEY_FILE")
        }
        (None, Some(_)) => bail!("MASTRA_ADMIN_GITHUB_PRIVATE_KEY needs MASTRA_ADMIN_GITHUB_APP_ID"),
    };
    let client_id = text(&given.github_client_id, &file.github_client_id);
    let client = match (client_id, secrets.github_client_secret.clone()) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        _ => bail!("MASTRA_ADMIN_GITHUB_CLIENT_ID and MASTRA_ADMIN_GITHUB_CLIENT_SECRET go together"),
    };
    if app.is_none() && secrets.github_webhook_secret.is_none() {
        return Ok(None);
    }
    let web = text(&given.github_url, &file.github_url).unwrap_or_else(|| "https://github.com".to_owned());
    let web = address(&web).context("MASTRA_ADMIN_GITHUB_URL")?;
    let api = text(&given.github_api_url, &file.github_api_url).unwrap_or_else(|| usual_api(&web));
    let api = address(&api).context("MASTRA_ADMIN_GITHUB_API_URL")?;
    Ok(Some(GitHubConfig { app, webhook_secret: secrets.github_webhook_secret.clone(), client, web, api }))
}

/// The key itself or what stands in its file. In one line its line breaks are written `\n`.
fn private_key(key: Option<Secret>, file: Option<PathBuf>) -> anyhow::Result<Option<Secret>> {
    let key = match (key, file) {
        (Some(key), _) => key,
        (None, Some(file)) => Secret::new(
            std::fs::read(&file)
                .with_context(|| format!("the private key {} cannot be read", file.display()))?,
        ),
        (None, None) => return Ok(None),
    };
    let text = key.expose_str().context("MASTRA_ADMIN_GITHUB_PRIVATE_KEY is no text")?;
    Ok(Some(Secret::new(text.replace("\\n", "\n"))))
}

fn address(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).context("it is no address")?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        bail!("it must begin with https://");
    }
    Ok(url)
}

/// Where GitHub's API is, or that of an Enterprise Server.
fn usual_api(web: &Url) -> String {
    match web.host_str() {
        Some("github.com") => "https://api.github.com".to_owned(),
        _ => format!("{}/api/v3", web.as_str().trim_end_matches('/')),
    }
}

/// The git hosts that are connected; none is asked yet.
pub(super) fn hosts(config: &Config) -> anyhow::Result<Vec<Arc<dyn GitHost>>> {
    let Some(github) = config.github.clone() else { return Ok(vec![]) };
    if github.app.is_some() && github.client.is_none() {
        tracing::warn!(
            "GitHub is not asked who connects an installation: set MASTRA_ADMIN_GITHUB_CLIENT_ID and …_SECRET unless \
             the App is private to one organization"
        );
    }
    let github = GitHub::try_new(github).map_err(|error| anyhow!(error)).context("MASTRA_ADMIN_GITHUB_…")?;
    Ok(vec![Arc::new(github)])
}

/// The system's git.
pub(super) fn git(config: &Config) -> anyhow::Result<GitCommand> {
    let git = programs::find("git").context("git is missing: apt-get install git")?;
    let web = config.github.as_ref().map(|github| &github.web).filter(|web| web.scheme() == "http");
    let plain_host = web.and_then(|web| {
        let port = web.port().map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("{}{port}", web.host_str()?))
    });
    // The operator has named an Enterprise Server of his own network by connecting it.
    let named = config.github.as_ref().and_then(|github| github.web.host_str());
    let private_hosts = config.git_private_hosts.iter().cloned().chain(named.map(str::to_owned)).collect();
    let helper = std::env::current_exe().context("this program does not know where it is")?;
    Ok(GitCommand::new(GitConfig {
        git,
        local_roots: config.allow_local_repos.clone(),
        plain_host,
        private_hosts,
        ssh: programs::find("ssh").map(|ssh| SshConfig { ssh, helper }),
        timeout: Duration::from_secs(300),
        max_checkout_bytes: 2 << 30,
    }))
}
