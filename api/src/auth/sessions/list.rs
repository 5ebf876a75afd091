//! `GET /api/v1/auth/sessions`: where one is signed in.

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use commands::sessions::{self, Session};
use domain::ids::SessionId;
use serde::Serialize;

use super::current;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::query::{Listed, Page, PageParams};
use crate::reply::Reply;

/// A sign-in that has not ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionView {
    #[schema(value_type = Uuid)]
    id: SessionId,
    /// Whether it is the one that asks.
    current: bool,
    provider: String,
    source_ip: Option<String>,
    user_agent: Option<String>,
    created_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

#[utoipa::path(get, path = "/api/v1/auth/sessions", operation_id = "listSessions", tag = "auth",
    params(PageParams), responses((status = 200, body = Listed<SessionView>)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    page: Page,
) -> Result<Reply<Listed<SessionView>>, ApiError> {
    let (user_id, current_id) = current(&caller)?;
    let idle = platform.settings.session_idle;
    let all = sessions::of_user(&platform.pool, user_id, caller.at(), idle).await?;
    let (rows, next_cursor) = page.cut_whole(all, |session| session.id.0);
    let items = rows.into_iter().map(|session| view(session, current_id)).collect();
    Ok(Reply::shown(Listed { items, next_cursor }))
}

fn view(session: Session, current_id: SessionId) -> SessionView {
    SessionView {
        id: session.id,
        current: session.id == current_id,
        provider: session.provider,
        source_ip: session.source_ip,
        user_agent: session.user_agent,
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        expires_at: session.expires_at,
    }
}
