//! `GET/POST /projects/{project}/tokens`, `DELETE /projects/{project}/tokens/{token}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::TokenId;
use domain::project::{ProjectCommand, TokenScope};
use domain::values::DisplayName;
use http::StatusCode;
use projections::projects::ProjectRow;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::token::NewToken;
use crate::body::{Body, Params};
use crate::error::{ApiError, in_future};
use crate::gate::Scoped;
use crate::me::tokens::view;
use crate::platform::Platform;
use crate::reply::{Done, items};

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
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
) -> Result<Json<Value>, ApiError> {
    let tokens = projections::tokens::of_project(&platform.pool, project.it.id).await?;
    Ok(items(tokens.iter().map(view).collect(), None))
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
    let (id, token, token_id) = (project.it.id, NewToken::api(), platform.new_id::<TokenId>());
    let (hash, prefix) = (token.hex(), token.prefix());
    let command = ProjectCommand::CreateProjectToken { token_id, name, hash, prefix, scopes, expires_at };
    let receipt = platform.commands.project(id, command, &project.context()).await?;
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        let tokens = projections::tokens::of_project(&platform.pool, id).await?;
        let row = tokens.iter().find(|row| row.id == token_id).ok_or_else(ApiError::not_found)?;
        Ok(json!({ "token": view(row), "plainToken": token.plain }))
    })
    .await
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
