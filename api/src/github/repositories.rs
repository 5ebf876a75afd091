//! `GET /installations/{installation}/repositories`, and of one of them `…/{owner}/{name}/branches` and `…/apps`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ports::git_host::{HostApp, HostBranch, HostRepository, Page as Wanted};
use domain::values::BranchName;
use projections::teams::InstallationRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::github;
use crate::body::{Params, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::items;

/// The part of a list that is wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    /// A part of the full name.
    #[param(max_length = 200)]
    q: Option<String>,
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u8>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// The branch that is looked at.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Look {
    /// The repository's default branch when absent.
    #[param(value_type = Option<String>)]
    branch: Option<BranchName>,
}

/// A repository that an installation opens.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Repository)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    /// GitHub's own id.
    id: i64,
    /// `acme/agent`.
    full_name: String,
    /// What a project's `repoUrl` is.
    repo_url: String,
    default_branch: String,
    private: bool,
}

/// A branch of a repository.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Branch {
    name: String,
    commit_sha: String,
}

/// A Mastra app in a repository.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct App {
    /// What a project's `projectRoot` is.
    project_root: String,
    /// What its `mastraDirectory` is, when it was found.
    mastra_directory: Option<String>,
    /// The range of `@mastra/core` that it asks for.
    mastra_version: String,
    name: Option<String>,
}

impl Search {
    fn page(&self) -> Result<Wanted, ApiError> {
        let size = self.limit.unwrap_or(50);
        if !(1..=100).contains(&size) {
            return Err(ApiError::field("limit", "out_of_range", "must be 1 to 100"));
        }
        let number = self.cursor.as_deref().map_or(Ok(1), str::parse);
        let number = number.ok().filter(|number| (1..=10_000).contains(number));
        let wrong = || ApiError::field("cursor", "invalid", "must be the cursor of an earlier answer");
        Ok(Wanted { number: number.ok_or_else(wrong)?, size })
    }
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    installation: Scoped<InstallationRow>,
    Query(search): Query<Search>,
) -> Result<Json<Value>, ApiError> {
    let page = search.page()?;
    let q = search.q.unwrap_or_default();
    if q.len() > 200 {
        return Err(ApiError::field("q", "too_long", "must have 200 characters at most"));
    }
    let part = github(&platform)?.repositories(installation.it.github_id, &q, page).await?;
    let shown = part.items.into_iter().map(|it| json!(view(it))).collect();
    Ok(items(shown, part.next.map(|next| next.to_string())))
}

fn view(it: HostRepository) -> View {
    View {
        id: it.id,
        full_name: it.name,
        repo_url: it.url.to_string(),
        default_branch: it.default_branch,
        private: it.is_private,
    }
}

pub(crate) async fn branches(
    State(platform): State<Arc<Platform>>,
    installation: Scoped<InstallationRow>,
    params: Params,
    Query(search): Query<Search>,
) -> Result<Json<Value>, ApiError> {
    let page = search.page()?;
    let part = github(&platform)?.branches(installation.it.github_id, &name(&params), page).await?;
    let q = search.q.unwrap_or_default();
    let wanted = part.items.into_iter().filter(|it| it.name.contains(&q));
    let shown = |HostBranch { name, commit }| json!(Branch { name, commit_sha: commit });
    Ok(items(wanted.map(shown).collect(), part.next.map(|next| next.to_string())))
}

pub(crate) async fn apps(
    State(platform): State<Arc<Platform>>,
    installation: Scoped<InstallationRow>,
    params: Params,
    Query(Look { branch }): Query<Look>,
) -> Result<Json<Value>, ApiError> {
    let host = github(&platform)?;
    let found = host.apps(installation.it.github_id, &name(&params), branch.as_ref()).await?;
    let shown = |it: HostApp| {
        json!(App {
            project_root: it.project_root.to_string(),
            mastra_directory: it.mastra_directory.map(|it| it.to_string()),
            mastra_version: it.core,
            name: it.name,
        })
    };
    Ok(items(found.into_iter().map(shown).collect(), None))
}

fn name(params: &Params) -> String {
    format!("{}/{}", params.text("owner"), params.text("name"))
}
