//! `POST /api/v1/teams`: makes a team; its maker owns it.

use std::sync::Arc;

use axum::extract::State;
use commands::Context;
use domain::ids::TeamId;
use domain::team::TeamCommand;
use domain::values::{DisplayName, Slug};
use projections::teams::TeamRow;
use serde::Deserialize;

use super::TeamView;
use crate::body::Body;
use crate::caller::Caller;
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::reply::Reply;

/// A new team.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Create {
    #[schema(value_type = String)]
    name: DisplayName,
    /// Its name in URLs; made of the name when absent.
    #[schema(value_type = Option<String>)]
    slug: Option<Slug>,
}

#[utoipa::path(post, path = "/api/v1/teams", operation_id = "createTeam", tag = "teams",
    request_body = Create, responses((status = 201, body = TeamView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Create { name, slug }): Body<Create>,
) -> Result<Reply<TeamView>, ApiError> {
    let owner = caller.person()?;
    let slug = slug.or_else(|| Slug::from_name(name.as_str()));
    let slug =
        slug.ok_or_else(|| Problem::invalid("slug", "required", "must be given: the name makes none"))?;
    let team_id = TeamId((platform.new_id)());
    let context = Context { team_id: Some(team_id), ..caller.context() };
    let command = TeamCommand::CreateTeam { name: name.clone(), slug: slug.clone(), owner };
    let receipt = platform.commands.team(team_id, command, &context).await?;
    // With a repeated key it is the team of the first time.
    let team_id = receipt.id(team_id);
    let settled = platform.settled(receipt).await;
    let row = projections::teams::find(&platform.pool, team_id).await?.unwrap_or_else(|| TeamRow {
        id: team_id,
        name: name.into(),
        slug: slug.into(),
        created_by: owner,
        created_at: context.at,
        updated_at: context.at,
        version: settled.version,
    });
    Ok(Reply::created(settled, row.into()))
}
