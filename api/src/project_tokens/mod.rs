//! `GET/POST /projects/{project}/tokens`, `DELETE …/{token}`, `POST …/{token}/rotate` — API tokens of a project.

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
use crate::gate::{Scoped, holds};
use crate::platform::Platform;
use crate::reply::{Done, Page, items, versioned};
use crate::shape;
use crate::tokens::{RotateToken, allowlist, made, views};

/// A new project token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CreateProjectToken)]
pub(crate) struct CreateToken {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    /// `deploy`, `telemetry:write`, `telemetry:read`, `read`; `read` when absent.
    #[schema(value_type = Option<Vec<shape::TokenScope>>)]
    scopes: Option<Vec<TokenScope>>,
    /// Addresses and ranges from which it is believed, 50 at most; every address when absent.
    ip_allowlist: Option<Vec<String>>,
    expires_at: Option<DateTime<Utc>>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let tokens = projections::tokens::of_project(project.view(), project.it.id).await?;
    let (tokens, next) = page.cut(tokens, |row| row.id.0)?;
    Ok(versioned(items(views(&platform, &tokens).await?, next), project.it.version))
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(CreateToken { name, scopes, ip_allowlist, expires_at }): Body<CreateToken>,
) -> Result<Done, ApiError> {
    in_future("expiresAt", expires_at, project.caller().at())?;
    let scopes = scopes.unwrap_or_else(|| vec![TokenScope::Read]);
    if scopes.is_empty() {
        return Err(ApiError::field("scopes", "required", "must name at least one scope"));
    }
    let ip_allowlist = allowlist(ip_allowlist)?;
    must_hold(&platform, &project, &scopes).await?;
    let (id, context) = (project.it.id, project.context());
    let token = NewToken::api(context.key.as_ref(), platform.commands.vault()).await?;
    let fresh = TokenRow {
        id: platform.new_id(),
        user_id: None,
        project_id: Some(id),
        name: name.to_string(),
        hash: token.hex(),
        prefix: token.prefix(),
        last_four: Some(token.last_four()),
        scopes: scopes.clone(),
        ip_allowlist: ip_allowlist.clone(),
        expires_at,
        created_at: context.at,
        created_by: project.caller().user().ok(),
        team_id: Some(project.team_id),
        old_hash: None,
        old_until: None,
    };
    let command = ProjectCommand::CreateProjectToken {
        token_id: fresh.id,
        name,
        hash: fresh.hash.clone(),
        prefix: token.prefix(),
        last_four: token.last_four(),
        scopes,
        ip_allowlist,
        expires_at,
    };
    let receipt = platform.commands.project(id, command, &context).await?;
    made(&platform, StatusCode::CREATED, receipt, token, fresh).await
}

/// Whoever rotates a token learns its secret: he needs what it may do. It stays the word of who made it.
pub(crate) async fn rotate(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
    Body(body): Body<RotateToken>,
) -> Result<Done, ApiError> {
    let (id, token_id) = (project.it.id, params.id("token")?);
    let row = projections::tokens::find(&platform.pool, token_id).await?;
    let row = row.filter(|row| row.project_id == Some(id)).ok_or_else(ApiError::not_found)?;
    must_hold(&platform, &project, &row.scopes).await?;
    let context = project.context();
    let token = NewToken::api(context.key.as_ref(), platform.commands.vault()).await?;
    let rotation = body.of(&row, token, context.at)?;
    let command = ProjectCommand::RotateProjectToken {
        token_id,
        hash: rotation.token.hex(),
        prefix: rotation.token.prefix(),
        last_four: rotation.token.last_four(),
        overlap_until: rotation.overlap_until,
        expires_at: rotation.expires_at,
    };
    let receipt = platform.commands.project(id, command, &context).await?;
    let fresh = rotation.applied_to(row);
    made(&platform, StatusCode::OK, receipt, rotation.token, fresh).await
}

/// Refuses a token that may do what who asks for it may not.
async fn must_hold(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    scopes: &[TokenScope],
) -> Result<(), ApiError> {
    let context = project.caller().context_of(project.team_id, Some(project.it.id));
    if holds(project.caller().grants(platform).await?, scopes, &context) {
        return Ok(());
    }
    let detail = "Nobody can give what he does not hold: these scopes allow more than you may.";
    Err(ApiError::new(StatusCode::FORBIDDEN, "not_held", detail))
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
