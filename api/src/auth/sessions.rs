//! `GET /auth/sessions` and `DELETE /auth/sessions/{session}` — where one is signed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use commands::Receipt;
use domain::ids::{SessionId, UserId};
use domain::user::UserCommand;
use http::StatusCode;
use serde_json::{Value, json};

use crate::body::Params;
use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;
use crate::reply::{Done, items};

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let current = match caller.principal {
        Principal::Session { session, .. } => Some(session),
        _ => None,
    };
    let sessions = platform.sessions.of_user(caller.user()?, caller.at()).await?;
    let view = sessions.into_iter().map(|session| {
        json!({
            "id": session.id,
            "provider": session.provider,
            "current": Some(session.id) == current,
            "createdAt": session.created_at,
            "lastSeenAt": session.last_seen_at,
            "expiresAt": session.expires_at,
        })
    });
    Ok(items(view.collect(), None))
}

pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    params: Params,
) -> Result<Done, ApiError> {
    let id: SessionId = params.id("session")?;
    let receipt = end(&platform, &caller, caller.user()?, id).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": id, "ended": true }))).await
}

/// Ends a session of a user.
pub(crate) async fn end(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    session_id: SessionId,
) -> Result<Receipt, ApiError> {
    let receipt =
        platform.commands.user(user, UserCommand::SignOut { session_id }, &caller.context(None)).await?;
    platform.sessions.end(user, session_id).await?;
    Ok(receipt)
}
