//! `POST /teams/{team}/restore` — opens a team again that was closed; it goes on as it was.

use std::sync::Arc;

use axum::extract::State;
use domain::team::TeamCommand;
use http::StatusCode;
use projections::teams::TeamRow;

use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::teams::show::view;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
) -> Result<Done, ApiError> {
    let id = team.it.id;
    let receipt = platform.commands.team(id, TeamCommand::ReopenTeam, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let team = projections::teams::find(&platform.pool, id).await?;
        Ok(view(&team.ok_or_else(ApiError::not_found)?))
    })
    .await
}
