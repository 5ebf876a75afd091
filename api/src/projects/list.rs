//! `GET /teams/{team}/projects` — the projects of a team.

use axum::Json;
use projections::teams::TeamRow;
use serde_json::Value;

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::projects::show::view;
use crate::reply::{Page, items, list};

pub(crate) async fn handler(
    team: Scoped<TeamRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let (limit, before) = (page.limit()?, page.cursor()?);
    let projects = projections::projects::of_team(team.view(), team.it.id, before, limit + 1).await?;
    let (projects, next) = list(projects, limit, |project| project.id.to_string());
    Ok(items(projects.iter().map(view).collect(), next))
}
