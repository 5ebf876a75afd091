//! `POST /api/v1/me/tokens`: makes a personal token. Its secret is in this answer and nowhere else.

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::TokenId;
use domain::user::UserCommand;
use domain::values::DisplayName;
use serde::{Deserialize, Serialize};

use super::TokenView;
use crate::body::Body;
use crate::caller::Caller;
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::reply::Reply;
use crate::secret_token::{Kind, SecretToken};

/// A new token.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Create {
    #[schema(value_type = String)]
    name: DisplayName,
    /// From when on it is refused; never when absent.
    expires_at: Option<DateTime<Utc>>,
}

/// A token with its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Created {
    token: TokenView,
    /// For `Authorization: Bearer`. Shown only now.
    plain_token: String,
}

#[utoipa::path(post, path = "/api/v1/me/tokens", operation_id = "createMyToken", tag = "me",
    request_body = Create, responses((status = 201, body = Created)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Create { name, expires_at }): Body<Create>,
) -> Result<Reply<Created>, ApiError> {
    let user_id = caller.person()?;
    if expires_at.is_some_and(|end| end <= caller.at()) {
        return Err(Problem::invalid("expiresAt", "invalid", "must be in the future").into());
    }
    let context = caller.context();
    let secret = SecretToken::once(Kind::Api, context.key.as_ref(), platform.commands.vault()).await?;
    let fresh = TokenView {
        id: TokenId((platform.new_id)()),
        name: name.to_string(),
        prefix: secret.shown(),
        expires_at,
        created_at: caller.at(),
    };
    let command = UserCommand::CreateUserToken {
        token_id: fresh.id,
        name,
        hash: secret.hash_hex(),
        prefix: secret.shown(),
        expires_at,
    };
    let settled = platform.settled(platform.commands.user(user_id, command, &context).await?).await;
    // A repeated command has made nothing: the token is that of the first time.
    let row = projections::tokens::find_by_hash(&platform.pool, &secret.hash_hex()).await?;
    let token = row.map_or(fresh, TokenView::from);
    Ok(Reply::created(settled, Created { token, plain_token: secret.expose().to_owned() }))
}
