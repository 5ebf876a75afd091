//! `DELETE /teams/{team}` — closes a team; everything of it stops.

use std::sync::Arc;

use axum::extract::State;
use domain::team::TeamCommand;
use http::StatusCode;
use projections::teams::TeamRow;
use serde_json::json;

use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
) -> Result<Done, ApiError> {
    let id = team.it.id;
    let receipt = platform.commands.team(id, TeamCommand::DeleteTeam, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": id, "deleted": true }))).await
}
