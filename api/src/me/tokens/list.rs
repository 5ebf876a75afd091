//! `GET /api/v1/me/tokens`: one's personal tokens.

use std::sync::Arc;

use axum::extract::State;

use super::TokenView;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::query::{Listed, Page, PageParams};
use crate::reply::Reply;

#[utoipa::path(get, path = "/api/v1/me/tokens", operation_id = "listMyTokens", tag = "me",
    params(PageParams), responses((status = 200, body = Listed<TokenView>)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    page: Page,
) -> Result<Reply<Listed<TokenView>>, ApiError> {
    let all = projections::tokens::of_user(&platform.pool, caller.person()?).await?;
    let (rows, next_cursor) = page.cut_whole(all, |row| row.id.0);
    Ok(Reply::shown(Listed { items: rows.into_iter().map(TokenView::from).collect(), next_cursor }))
}
