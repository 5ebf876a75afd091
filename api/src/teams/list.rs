//! `GET /teams` — the teams of who asks; with `deleted=true` those that are closed and that he may restore.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;
use crate::reply::{Page, items, list};
use crate::teams::show::{closed_view, view};

/// Which teams.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Which {
    #[serde(default)]
    deleted: bool,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(Which { deleted }): Query<Which>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let user = caller.user()?;
    if deleted {
        let (teams, next) = page.cut(caller.closed_teams(&platform).await?, |team| team.id.0)?;
        return Ok(items(teams.iter().map(closed_view).collect(), next));
    }
    let (limit, before) = (page.limit()?, page.cursor()?);
    let teams = projections::teams::of_user(&platform.pool, user, before, limit + 1).await?;
    let (teams, next) = list(teams, limit, |team| team.id.to_string());
    Ok(items(teams.iter().map(view).collect(), next))
}
