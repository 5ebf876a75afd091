//! `POST /teams/{team}/transfer` — an owner gives the team to another member and is an admin from then on.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::UserId;
use domain::team::TeamCommand;
use http::StatusCode;
use projections::teams::TeamRow;
use serde::Deserialize;
use serde_json::json;

use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

/// Who owns the team from then on.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TransferTeam {
    #[schema(value_type = uuid::Uuid)]
    user_id: UserId,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(TransferTeam { user_id: to }): Body<TransferTeam>,
) -> Result<Done, ApiError> {
    let (id, from) = (team.it.id, team.caller().user()?);
    let command = TeamCommand::TransferOwnership { from, to };
    let receipt = platform.commands.team(id, command, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": id, "ownerId": to }))).await
}
