//! `GET/POST /projects/{project}/tokens`, `DELETE /projects/{project}/tokens/{token}`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::project::{ProjectCommand, TokenScope};
use domain::values::DisplayName;
use http::StatusCode;
use projections::projects::ProjectRow;
use projections::tokens::TokenRow;
use serde::Deserialize;
use serde_json::json;

use crate::auth::token::NewToken;
use crate::body::{Body, Params, Query, in_future};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::me::tokens::{made, view};
use crate::platform::Platform;
use crate::reply::{Done, Page, items, versioned};

/// A new project token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateToken {
    #[schema(value_type = String)]
    name: DisplayName,
    /// `deploy`, `telemetry:write`, `telemetry:read`, `read`; `read` when absent.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Vec<TokenScope>>,
    expires_at: Option<DateTime<Utc>>,
}

pub(crate) async fn list(
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let tokens = projections::tokens::of_project(project.view(), project.it.id).await?;
    let (tokens, next) = page.cut(tokens, |row| row.id.0)?;
    Ok(versioned(items(tokens.iter().map(view).collect(), next), project.it.version))
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(CreateToken { name, scopes, expires_at }): Body<CreateToken>,
) -> Result<Done, ApiError> {
    in_future("expiresAt", expires_at, project.caller().at())?;
    let scopes = scopes.unwrap_or_else(|| vec![TokenScope::Read]);
    if scopes.is_empty() {
        return Err(ApiError::field("scopes", "required", "must name at least one scope"));
    }
    let (id, context) = (project.it.id, project.context());
    let token = NewToken::api(context.key.as_ref(), platform.commands.vault()).await?;
    let fresh = TokenRow {
        id: platform.new_id(),
        user_id: None,
        project_id: Some(id),
        name: name.to_string(),
        hash: token.hex(),
        prefix: token.prefix(),
        scopes: scopes.clone(),
        expires_at,
        created_at: context.at,
    };
    let (token_id, hash, prefix) = (fresh.id, fresh.hash.clone(), token.prefix());
    let command = ProjectCommand::CreateProjectToken { token_id, name, hash, prefix, scopes, expires_at };
    let receipt = platform.commands.project(id, command, &context).await?;
    made(&platform, receipt, token, fresh).await
}

pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
) -> Result<Done, ApiError> {
    let token_id = params.id("token")?;
    let command = ProjectCommand::RevokeProjectToken { token_id };
    let receipt = platform.commands.project(project.it.id, command, &project.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": token_id, "revoked": true })))
        .await
}
