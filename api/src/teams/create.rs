//! `POST /teams` — makes a team; who asks owns it.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::TeamId;
use domain::team::TeamCommand;
use domain::values::{DisplayName, Slug};
use http::StatusCode;
use serde::Deserialize;

use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;
use crate::teams::show::view;

/// A new team.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateTeam {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    #[schema(value_type = shape::Slug)]
    slug: Slug,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(CreateTeam { name, slug }): Body<CreateTeam>,
) -> Result<Done, ApiError> {
    let owner = caller.user()?;
    let id: TeamId = platform.new_id();
    let command = TeamCommand::CreateTeam { name, slug, owner };
    let receipt = platform.commands.team(id, command, &caller.context(Some(id)).of_new()).await?;
    // With a repeated key it is the team of the first time.
    let id = receipt.aggregate_id.parse().unwrap_or(id);
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        let team = projections::teams::find(&platform.pool, id).await?;
        Ok(view(&team.ok_or_else(ApiError::not_found)?))
    })
    .await
}
