//! `GET /teams/{team}/installations`, `DELETE /installations/{installation}`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::{InstallationId, TeamId};
use domain::team::{InstallationStatus, TeamCommand};
use http::StatusCode;
use projections::teams::{InstallationRow, TeamRow};
use serde::Serialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, versioned};

pub(crate) async fn list(team: Scoped<TeamRow>, Query(page): Query<Page>) -> Result<Response, ApiError> {
    let rows = projections::teams::installations(team.view(), team.it.id).await?;
    let (rows, next) = page.cut(rows, |row| row.id.0)?;
    Ok(versioned(items(rows.iter().map(view).collect(), next), team.it.version))
}

/// Disconnects it from the team; at GitHub it stays.
pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    installation: Scoped<InstallationRow>,
) -> Result<Done, ApiError> {
    let installation_id = installation.it.id;
    let command = TeamCommand::RemoveInstallation { installation_id };
    let receipt = platform.commands.team(installation.team_id, command, &installation.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        Ok(json!({ "id": installation_id, "deleted": true }))
    })
    .await
}

/// An installation as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Installation)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: InstallationId,
    #[schema(value_type = uuid::Uuid)]
    team_id: TeamId,
    /// GitHub's own id.
    installation_id: i64,
    /// Login of its account.
    organization_name: &'a str,
    /// `active`, `suspended` or `unknown`.
    #[schema(value_type = String)]
    status: InstallationStatus,
    created_at: DateTime<Utc>,
}

/// An installation as the API shows it.
pub(super) fn view(row: &InstallationRow) -> Value {
    json!(View {
        id: row.id,
        team_id: row.team_id,
        installation_id: row.github_id,
        organization_name: &row.organization,
        status: row.status,
        created_at: row.created_at,
    })
}
