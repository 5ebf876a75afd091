//! `GET /me` — who asks.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::ids::UserId;
use domain::sealed::purpose;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;
use crate::reply::resource;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let id = caller.user()?;
    let version = projections::users::find(&platform.pool, id).await?.map_or(0, |user| user.version);
    let mut me = view(&platform, id).await?;
    if let Principal::Session { csrf_token, .. } = &caller.principal {
        me["csrfToken"] = csrf_token.as_str().into();
    }
    Ok(resource(me, version))
}

/// A user as the user sees it.
pub(crate) async fn view(platform: &Platform, id: UserId) -> Result<Value, ApiError> {
    let user = projections::users::find(&platform.pool, id).await?.ok_or_else(ApiError::not_found)?;
    let vault = platform.commands.vault();
    let photo_url = match &user.photo_url {
        Some(sealed) => Some(vault.open_text(sealed, purpose::USER_PHOTO_URL).await?),
        None => None,
    };
    let email = vault.open_text(&user.email, purpose::USER_EMAIL).await?;
    Ok(json!({
        "id": user.id,
        // An empty text: no provider has verified one.
        "email": Some(email).filter(|email| !email.is_empty()),
        "firstName": vault.open_text(&user.first_name, purpose::USER_FIRST_NAME).await?,
        "lastName": vault.open_text(&user.last_name, purpose::USER_LAST_NAME).await?,
        // A picture that was taken away is an empty text: the log has no other way to say so.
        "photoUrl": photo_url.filter(|url| !url.is_empty()),
        "activeTeamId": user.active_team_id,
        "activeProjectId": user.active_project_id,
        "createdAt": user.created_at,
        "updatedAt": user.updated_at,
    }))
}
