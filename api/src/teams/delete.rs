//! `DELETE /teams/{team}` — closes a team: everything of it stops, nothing is lost, and for a while it can be restored.

use std::sync::Arc;

use axum::extract::State;
use domain::team::TeamCommand;
use http::StatusCode;
use projections::teams::TeamRow;

use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::teams::show::closed_view;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
) -> Result<Done, ApiError> {
    let (id, at) = (team.it.id, team.caller().at());
    let receipt = platform.commands.team(id, TeamCommand::CloseTeam { at }, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let closed = projections::teams::find_closed(&platform.pool, id).await?;
        Ok(closed_view(&closed.ok_or_else(ApiError::not_found)?))
    })
    .await
}
