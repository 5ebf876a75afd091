//! `GET /teams/{team}/github/install-url` — where a member installs the App for the team.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use commands::installations;
use projections::teams::TeamRow;
use serde::Serialize;

use super::{GITHUB, github, hash};
use crate::auth::token::random;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// As long as somebody may take at GitHub.
const PATIENCE: TimeDelta = TimeDelta::hours(1);

/// Where to go.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = InstallUrl)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    /// The page of GitHub; it leads back here, once, and only who has asked for it.
    url: String,
    expires_at: DateTime<Utc>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
) -> Result<Json<View>, ApiError> {
    let (user, state) = (team.caller().user()?, random());
    let url = github(&platform)?.install_url(&state).await?;
    let expires_at = team.caller().at() + PATIENCE;
    installations::begin(&platform.pool, &hash(&state), GITHUB, (user, team.it.id), expires_at).await?;
    Ok(Json(View { url, expires_at }))
}
