//! `PATCH /teams/{team}` — another name or slug.

use std::sync::Arc;

use axum::extract::State;
use domain::team::TeamCommand;
use domain::values::{DisplayName, Slug};
use http::StatusCode;
use projections::teams::TeamRow;
use serde::Deserialize;

use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;
use crate::teams::show::view;

/// What is absent stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeTeam {
    #[schema(value_type = Option<shape::Name>)]
    name: Option<DisplayName>,
    #[schema(value_type = Option<shape::Slug>)]
    slug: Option<Slug>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(ChangeTeam { name, slug }): Body<ChangeTeam>,
) -> Result<Done, ApiError> {
    let id = team.it.id;
    let receipt = platform.commands.team(id, TeamCommand::RenameTeam { name, slug }, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let team = projections::teams::find(&platform.pool, id).await?;
        Ok(view(&team.ok_or_else(ApiError::not_found)?))
    })
    .await
}
