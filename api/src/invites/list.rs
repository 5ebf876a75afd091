//! `GET /api/v1/teams/{team}/invites`: the invites of a team, those that are over among them.

use std::sync::Arc;

use axum::extract::State;
use projections::teams::{self, TeamRow};

use super::{InviteView, view};
use crate::caller::Scoped;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::query::{Listed, Page, PageParams};
use crate::reply::Reply;

#[utoipa::path(get, path = "/api/v1/teams/{team}/invites", operation_id = "listInvites", tag = "invites",
    params(PageParams), responses((status = 200, body = Listed<InviteView>)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    page: Page,
) -> Result<Reply<Listed<InviteView>>, ApiError> {
    let all = teams::invites(&platform.pool, team.id).await?;
    let (rows, next_cursor) = page.cut_whole(all, |row| row.id.0);
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(view(&platform, row).await?);
    }
    Ok(Reply::shown(Listed { items, next_cursor }))
}
