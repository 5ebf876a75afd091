//! `GET /me` — who asks.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::{ProjectId, TeamId, UserId};
use domain::sealed::purpose;
use serde::Serialize;
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
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = User)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    /// Null when no provider has verified one.
    email: Option<String>,
    first_name: String,
    last_name: String,
    photo_url: Option<String>,
    #[schema(value_type = Option<uuid::Uuid>)]
    active_team_id: Option<TeamId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    active_project_id: Option<ProjectId>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// For the session that asks, which sends it with every change.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
}

/// A user as the user sees it.
pub(crate) async fn view(platform: &Platform, id: UserId) -> Result<Value, ApiError> {
    let user = projections::users::find(&platform.pool, id).await?.ok_or_else(ApiError::not_found)?;
    let vault = platform.commands.vault();
    let photo_url = match &user.photo_url {
        Some(sealed) => Some(vault.open_text(sealed, purpose::USER_PHOTO_URL).await?),
        None => None,
    };
    // What he does not find any more he does not look at; a team that is restored is where he looks again.
    let team = match user.active_team_id {
        Some(team) => projections::teams::find(&platform.pool, team).await?.map(|team| team.id),
        None => None,
    };
    let project = match user.active_project_id {
        Some(project) => {
            projections::projects::find(&platform.pool, project).await?.map(|project| project.id)
        }
        None => None,
    };
    let email = vault.open_text(&user.email, purpose::USER_EMAIL).await?;
    Ok(json!(View {
        id: user.id,
        // An empty text: no provider has verified one.
        email: Some(email).filter(|email| !email.is_empty()),
        first_name: vault.open_text(&user.first_name, purpose::USER_FIRST_NAME).await?,
        last_name: vault.open_text(&user.last_name, purpose::USER_LAST_NAME).await?,
        // A picture that was taken away is an empty text: the log has no other way to say so.
        photo_url: photo_url.filter(|url| !url.is_empty()),
        active_team_id: team,
        active_project_id: project,
        created_at: user.created_at,
        updated_at: user.updated_at,
        csrf_token: None,
    }))
}
