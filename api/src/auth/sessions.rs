//! `GET/DELETE /auth/sessions` and `DELETE /auth/sessions/{session}` — where one is signed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::{CommandError, Context, Mode, Receipt};
use domain::ids::{SessionId, UserId};
use domain::sealed::KeyOwner;
use domain::user::UserCommand;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::login::note;
use crate::body::{Params, Query};
use crate::dry_run::rehearsed;
use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;
use crate::reply::{Done, Page, items};

/// A session as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Session)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: SessionId,
    provider: &'a str,
    /// Whether it is the one that asks.
    current: bool,
    source_ip: Option<String>,
    user_agent: Option<String>,
    created_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let current = match caller.principal {
        Principal::Session { session, .. } => Some(session),
        _ => None,
    };
    let sessions = platform.sessions.of_user(caller.user()?, caller.at()).await?;
    let (sessions, next) = page.cut(sessions, |session| session.id.0)?;
    let mut views = Vec::with_capacity(sessions.len());
    for session in sessions {
        let open = async |field: &str, sealed: &Option<String>| match sealed {
            Some(sealed) => {
                let vault = platform.commands.vault();
                vault.open_note(KeyOwner::User(session.user_id), &note(session.id, field), sealed).await
            }
            None => Ok(None),
        };
        views.push(json!(View {
            id: session.id,
            provider: &session.provider,
            current: Some(session.id) == current,
            source_ip: open("source_ip", &session.source_ip).await?,
            user_agent: open("user_agent", &session.user_agent).await?,
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
            expires_at: session.expires_at,
        }));
    }
    Ok(items(views, next))
}

pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    params: Params,
) -> Result<Done, ApiError> {
    let id: SessionId = params.id("session")?;
    let receipt = end(&platform, caller.user()?, id, &caller.context(None)).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": id, "ended": true }))).await
}

pub(crate) async fn delete_others(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let Principal::Session { user, session, .. } = caller.principal else {
        return Err(ApiError::forbidden("Only who is signed in can end the other sessions."));
    };
    if caller.is_dry_run() {
        let commands = sign_outs(&platform, &caller, user, session).await?;
        return Err(rehearsed(&platform, user, commands, &caller).await?);
    }
    let (ended, last) = end_others(&platform, &caller, user, session, 0).await?;
    let body = json!({ "ended": ended });
    let Some(receipt) = last else { return Ok(Json(body).into_response()) };
    Ok(Done::new(&platform, StatusCode::OK, receipt, async || Ok(body)).await?.into_response())
}

/// Ends a session of a user: the event, then the row, which goes even when the log does not know the session.
pub(crate) async fn end(
    platform: &Platform,
    user: UserId,
    session_id: SessionId,
    context: &Context,
) -> Result<Receipt, ApiError> {
    let answer = platform.commands.user(user, UserCommand::SignOut { session_id }, context).await;
    let is_over = matches!(answer, Ok(_) | Err(CommandError::Refused(_)));
    if is_over && context.mode == Mode::Append {
        platform.sessions.end(user, session_id).await?;
    }
    Ok(answer?)
}

/// Ends every session of a user but one. `first` is the number of the first of these commands in its request.
pub(crate) async fn end_others(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    but: SessionId,
    first: usize,
) -> Result<(Vec<SessionId>, Option<Receipt>), ApiError> {
    let (mut ended, mut last) = (Vec::new(), None);
    for (session, n) in others(platform, caller, user, but).await?.into_iter().zip(first..) {
        last = Some(end(platform, user, session, &caller.step(None, n)).await?);
        ended.push(session);
    }
    Ok((ended, last))
}

/// The commands that end every session of a user but one.
pub(crate) async fn sign_outs(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    but: SessionId,
) -> Result<Vec<UserCommand>, ApiError> {
    let others = others(platform, caller, user, but).await?;
    Ok(others.into_iter().map(|session_id| UserCommand::SignOut { session_id }).collect())
}

async fn others(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    but: SessionId,
) -> Result<Vec<SessionId>, ApiError> {
    let sessions = platform.sessions.of_user(user, caller.at()).await?;
    Ok(sessions.into_iter().map(|session| session.id).filter(|id| *id != but).collect())
}
