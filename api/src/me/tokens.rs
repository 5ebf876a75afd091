//! `GET/POST /me/tokens`, `DELETE /me/tokens/{token}` — personal API tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use commands::Receipt;
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

/// A new personal token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateToken {
    #[schema(value_type = String)]
    name: DisplayName,
    expires_at: Option<DateTime<Utc>>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let tokens = projections::tokens::of_user(&platform.pool, caller.user()?).await?;
    let (tokens, next) = page.cut(tokens, |row| row.id.0)?;
    Ok(items(tokens.iter().map(view).collect(), next))
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(CreateToken { name, expires_at }): Body<CreateToken>,
) -> Result<Done, ApiError> {
    let user = caller.user()?;
    if !matches!(caller.principal, Principal::Session { .. }) {
        // It would outlive its own expiry and revocation.
        return Err(ApiError::forbidden("A token makes no tokens: sign in for that."));
    }
    in_future("expiresAt", expires_at, caller.at())?;
    let context = caller.context(None);
    let token = NewToken::api(context.key.as_ref(), platform.commands.vault()).await?;
    let fresh = TokenRow {
        id: platform.new_id(),
        user_id: Some(user),
        project_id: None,
        name: name.to_string(),
        hash: token.hex(),
        prefix: token.prefix(),
        scopes: vec![],
        expires_at,
        created_at: context.at,
    };
    let command = UserCommand::CreateUserToken {
        token_id: fresh.id,
        name,
        hash: fresh.hash.clone(),
        prefix: token.prefix(),
        expires_at,
    };
    let receipt = platform.commands.user(user, command, &context).await?;
    made(&platform, receipt, token, fresh).await
}

/// Answers with a token that was made: `fresh`, or with a repeated key that of the first time.
pub(crate) async fn made(
    platform: &Platform,
    receipt: Receipt,
    token: NewToken,
    fresh: TokenRow,
) -> Result<Done, ApiError> {
    Done::new(platform, StatusCode::CREATED, receipt, async || {
        let row = projections::tokens::find_by_hash(&platform.pool, &token.hex()).await?;
        Ok(json!({ "token": view(&row.unwrap_or(fresh)), "plainToken": token.plain }))
    })
    .await
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

/// A token without its secret.
pub(crate) fn view(row: &TokenRow) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "expiresAt": row.expires_at,
        "createdAt": row.created_at,
    })
}
