//! `GET /api/v1/teams`: the teams that one belongs to.

use std::sync::Arc;

use axum::extract::State;

use super::TeamView;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::query::{Listed, Page, PageParams};
use crate::reply::Reply;

#[utoipa::path(get, path = "/api/v1/teams", operation_id = "listTeams", tag = "teams",
    params(PageParams), responses((status = 200, body = Listed<TeamView>)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    page: Page,
) -> Result<Reply<Listed<TeamView>>, ApiError> {
    let (user_id, before) = (caller.person()?, page.cursor.map(Into::into));
    let rows = projections::teams::of_user(&platform.pool, user_id, before, page.read()).await?;
    let (rows, next_cursor) = page.cut(rows, |row| row.id.to_string());
    Ok(Reply::shown(Listed { items: rows.into_iter().map(TeamView::from).collect(), next_cursor }))
}
