//! `GET /teams` — the teams of who asks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;
use crate::reply::{Page, items, list};
use crate::teams::show::view;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let (limit, before) = (page.limit()?, page.cursor()?);
    let teams = projections::teams::of_user(&platform.pool, caller.user()?, before, limit + 1).await?;
    let (teams, next) = list(teams, limit, |team| team.id.to_string());
    Ok(items(teams.iter().map(view).collect(), next))
}
