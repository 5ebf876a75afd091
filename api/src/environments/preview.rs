//! Previews of pull requests: how they are shown, and `POST /environments/{environment}/approve`.

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::project::{ProjectCommand, PullRequest};
use domain::values::{BranchName, CommitSha};
use http::StatusCode;
use projections::projects::EnvironmentRow;
use serde::{Deserialize, Serialize};

use super::show_again;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;

/// What is approved: the commit that somebody has looked at.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ApprovePreview {
    #[schema(value_type = shape::CommitSha)]
    commit_sha: CommitSha,
}

/// The pull request of a preview as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PullRequest)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    number: u32,
    /// The branch it brings; `pull/12/head` of a fork.
    #[schema(value_type = shape::BranchName)]
    branch: &'a BranchName,
    /// What it is at.
    #[schema(value_type = shape::CommitSha)]
    commit_sha: &'a CommitSha,
    /// Whether its commits are in somebody else's repository.
    is_fork: bool,
    /// Whether its commit is built only after somebody has approved it.
    waits_for_approval: bool,
    /// When the environment is deleted, unless the pull request gets another commit before.
    expires_at: DateTime<Utc>,
}

pub(super) fn view(pull_request: &PullRequest) -> View<'_> {
    View {
        number: pull_request.number,
        branch: &pull_request.branch,
        commit_sha: &pull_request.head,
        is_fork: pull_request.is_fork,
        waits_for_approval: pull_request.is_waiting(),
        expires_at: pull_request.expires_at,
    }
}

pub(crate) async fn approve(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(ApprovePreview { commit_sha }): Body<ApprovePreview>,
) -> Result<Done, ApiError> {
    let environment_id = environment.it.environment.id;
    let command = ProjectCommand::ApprovePreview { environment_id, commit: commit_sha };
    let receipt =
        platform.commands.project(environment.it.project_id, command, &environment.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || show_again(&platform, &environment).await).await
}
