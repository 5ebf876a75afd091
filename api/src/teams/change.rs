//! `PATCH /api/v1/teams/{team}`: another name, another slug.

use std::sync::Arc;

use axum::extract::State;
use domain::team::TeamCommand;
use domain::values::{DisplayName, Slug};
use projections::teams::TeamRow;
use serde::Deserialize;

use super::TeamView;
use crate::body::Body;
use crate::caller::Scoped;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::reply::Reply;

/// What is absent stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Change {
    #[schema(value_type = Option<String>)]
    name: Option<DisplayName>,
    #[schema(value_type = Option<String>)]
    slug: Option<Slug>,
}

#[utoipa::path(patch, path = "/api/v1/teams/{team}", operation_id = "changeTeam", tag = "teams",
    request_body = Change, responses((status = 200, body = TeamView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(Change { name, slug }): Body<Change>,
) -> Result<Reply<TeamView>, ApiError> {
    let command = TeamCommand::RenameTeam { name, slug };
    let receipt = platform.commands.team(team.id, command, &team.context()).await?;
    let settled = platform.settled(receipt).await;
    let row = projections::teams::find(&platform.pool, team.id).await?;
    Ok(Reply::done(settled, row.unwrap_or_else(|| team.into_inner()).into()))
}
