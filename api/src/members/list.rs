//! `GET /api/v1/teams/{team}/members`: who belongs to a team.

use std::sync::Arc;

use axum::extract::State;
use projections::teams::{self, TeamRow};

use super::{MemberView, views};
use crate::caller::Scoped;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::query::{Listed, Page, PageParams};
use crate::reply::Reply;

#[utoipa::path(get, path = "/api/v1/teams/{team}/members", operation_id = "listMembers", tag = "members",
    params(PageParams), responses((status = 200, body = Listed<MemberView>)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    page: Page,
) -> Result<Reply<Listed<MemberView>>, ApiError> {
    let all = teams::members(&platform.pool, team.id).await?;
    let (rows, next_cursor) = page.cut_whole(all, |row| row.user_id.0);
    Ok(Reply::shown(Listed { items: views(&platform, rows).await?, next_cursor }))
}
