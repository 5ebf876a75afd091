//! `GET/POST /me/tokens`, `POST /me/tokens/{token}/rotate`, `DELETE /me/tokens/{token}` — personal API tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::project::TokenScope;
use domain::user::UserCommand;
use domain::values::DisplayName;
use http::StatusCode;
use projections::tokens::TokenRow;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::token::NewToken;
use crate::body::{Body, Params, Query, in_future};
use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;
use crate::reply::{Done, Page, items};
use crate::shape;
use crate::tokens::{RotateToken, allowlist, made, views};

/// A new personal token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateToken {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    /// `deploy`, `telemetry:write`, `telemetry:read`, `read`; all that its owner may do when absent.
    #[schema(value_type = Option<Vec<shape::TokenScope>>)]
    scopes: Option<Vec<TokenScope>>,
    /// Addresses and ranges from which it is believed, 50 at most; every address when absent.
    ip_allowlist: Option<Vec<String>>,
    expires_at: Option<DateTime<Utc>>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let tokens = projections::tokens::of_user(&platform.pool, caller.user()?).await?;
    let (tokens, next) = page.cut(tokens, |row| row.id.0)?;
    Ok(items(views(&platform, &tokens).await?, next))
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(CreateToken { name, scopes, ip_allowlist, expires_at }): Body<CreateToken>,
) -> Result<Done, ApiError> {
    let user = caller.user()?;
    by_hand(&caller)?;
    in_future("expiresAt", expires_at, caller.at())?;
    let ip_allowlist = allowlist(ip_allowlist)?;
    if scopes.as_ref().is_some_and(Vec::is_empty) {
        let message = "must name at least one scope; leave it out for all that you may do";
        return Err(ApiError::field("scopes", "required", message));
    }
    let scopes = scopes.unwrap_or_default();
    let context = caller.context(None);
    let token = NewToken::api(context.key.as_ref(), platform.commands.vault()).await?;
    let fresh = TokenRow {
        id: platform.new_id(),
        user_id: Some(user),
        project_id: None,
        name: name.to_string(),
        hash: token.hex(),
        prefix: token.prefix(),
        last_four: Some(token.last_four()),
        scopes: scopes.clone(),
        ip_allowlist: ip_allowlist.clone(),
        expires_at,
        created_at: context.at,
        created_by: None,
        team_id: None,
        old_hash: None,
        old_until: None,
    };
    let command = UserCommand::CreateUserToken {
        token_id: fresh.id,
        name,
        hash: fresh.hash.clone(),
        prefix: token.prefix(),
        last_four: token.last_four(),
        scopes,
        ip_allowlist,
        expires_at,
    };
    let receipt = platform.commands.user(user, command, &context).await?;
    made(&platform, StatusCode::CREATED, receipt, token, fresh).await
}

pub(crate) async fn rotate(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    params: Params,
    Body(body): Body<RotateToken>,
) -> Result<Done, ApiError> {
    let (user, token_id) = (caller.user()?, params.id("token")?);
    by_hand(&caller)?;
    let row = projections::tokens::find(&platform.pool, token_id).await?;
    let row = row.filter(|row| row.user_id == Some(user)).ok_or_else(ApiError::not_found)?;
    let context = caller.context(None);
    let token = NewToken::api(context.key.as_ref(), platform.commands.vault()).await?;
    let rotation = body.of(&row, token, context.at)?;
    let command = UserCommand::RotateUserToken {
        token_id,
        hash: rotation.token.hex(),
        prefix: rotation.token.prefix(),
        last_four: rotation.token.last_four(),
        overlap_until: rotation.overlap_until,
        expires_at: rotation.expires_at,
    };
    let receipt = platform.commands.user(user, command, &context).await?;
    let fresh = rotation.applied_to(row);
    made(&platform, StatusCode::OK, receipt, rotation.token, fresh).await
}

/// A token that could make tokens would outlive its own expiry and revocation.
fn by_hand(caller: &Caller) -> Result<(), ApiError> {
    match caller.principal {
        Principal::Session { .. } => Ok(()),
        _ => Err(ApiError::forbidden("A token makes no tokens: sign in for that.")),
    }
}

pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    params: Params,
) -> Result<Done, ApiError> {
    let token_id = params.id("token")?;
    let command = UserCommand::RevokeUserToken { token_id };
    let receipt = platform.commands.user(caller.user()?, command, &caller.context(None)).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": token_id, "revoked": true })))
        .await
}
