//! `GET /auth/{provider}/callback` — a browser comes back from a sign-in provider: its session begins.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use commands::{CommandError, Context};
use domain::access::SignInFailure;
use domain::ids::UserId;
use domain::ports::auth::{AuthError, Brought, Identity};
use domain::sealed::KeyOwner;
use domain::team::{TeamCommand, TeamError};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::auth::authorize::{PATIENCE, Started, away};
use crate::auth::failure::{self, Account};
use crate::auth::identity::get_or_create;
use crate::auth::login::{self, cookie};
use crate::auth::providers::find;
use crate::body::{Params, Query};
use crate::error::ApiError;
use crate::gate::{Caller, cookie_of};
use crate::platform::Platform;
use crate::reply::X_EVENT_POSITION;

/// What the provider gave the browser. It may send more, which means nothing here.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Back {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
    Query(back): Query<Back>,
) -> Result<Response, ApiError> {
    let provider = find(&platform, params.text("provider"))?;
    let refused = async |reason: SignInFailure, code: &'static str, detail: &str| match failure::record_of(
        &platform,
        &caller,
        Account::None,
        provider.id(),
        reason,
    )
    .await
    {
        Ok(()) => ApiError::new(StatusCode::UNAUTHORIZED, code, detail),
        Err(unrecorded) => unrecorded,
    };
    let Some(started) = started(&platform, &caller, &headers, provider.id(), &back).await? else {
        let detail = "This sign-in was not begun in this browser, or took too long: begin it again.";
        return Err(refused(SignInFailure::WrongState, "wrong_state", detail).await);
    };
    let unproved = async || {
        let detail = "The provider did not sign you in.";
        refused(SignInFailure::Unproved, "not_signed_in", detail).await
    };
    let Some(code) = back.code.filter(|_| back.error.is_none()) else { return Err(unproved().await) };
    let flow = started.flow(&platform);
    let identity = match provider.finish(&flow, &Brought { code, iss: back.iss }).await {
        Ok(identity) => identity,
        Err(error @ AuthError::Unavailable(_)) => return Err(away(provider.id(), &error)),
        Err(AuthError::Refused(why)) => {
            tracing::warn!(provider = provider.id(), why, "a sign-in proves nothing: {why}");
            return Err(unproved().await);
        }
    };
    let user = get_or_create(&platform, &caller, &*provider, &identity).await?;
    join_teams(&platform, &caller, user, &identity).await?;
    let begun = login::session(&platform, &caller, user, provider.id()).await?;
    platform.caught_up(&begun.receipt).await;
    let over = cookie(&platform, Started::cookie_name(platform.is_https()), "");
    let headers = [
        (header::SET_COOKIE, begun.cookie(&platform)),
        (header::LOCATION, started.return_to),
        (X_EVENT_POSITION, begun.receipt.position.to_string()),
    ];
    let mut response = (StatusCode::FOUND, headers).into_response();
    let over = format!("{over}; Max-Age=0").parse().map_err(|_| ApiError::not_found())?;
    response.headers_mut().append(header::SET_COOKIE, over);
    Ok(response)
}

/// Takes somebody into the teams that the provider counts him among. Whoever is a member already keeps his role, and
/// whoever the provider counts no more is removed by the team's own people.
async fn join_teams(
    platform: &Platform,
    caller: &Caller,
    user_id: UserId,
    identity: &Identity,
) -> Result<(), ApiError> {
    for (slug, role) in &identity.teams {
        let Some(team) = projections::teams::find_by_slug(&platform.pool, slug.as_str()).await? else {
            continue;
        };
        let context = Context { key: None, team_id: Some(team.id), ..caller.context_as(user_id) };
        let command = TeamCommand::AddMember { user_id, role: *role };
        match platform.commands.team(team.id, command, &context).await {
            Ok(_) | Err(CommandError::Refused(TeamError::Unknown)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The sign-in that this browser has begun, when it is the one that comes back.
async fn started(
    platform: &Platform,
    caller: &Caller,
    headers: &HeaderMap,
    provider: &str,
    back: &Back,
) -> Result<Option<Started>, ApiError> {
    let Some(sealed) = cookie_of(headers, Started::cookie_name(platform.is_https())) else {
        return Ok(None);
    };
    let vault = platform.commands.vault();
    let opened = match vault.open_note(KeyOwner::System, Started::SEAL, sealed).await {
        Err(commands::VaultError::Damaged) => None,
        opened => opened?,
    };
    let started: Option<Started> = opened.and_then(|text| serde_json::from_str(&text).ok());
    Ok(started.filter(|started| {
        let state = back.state.as_deref().unwrap_or_default();
        let is_its = bool::from(started.state.as_bytes().ct_eq(state.as_bytes()));
        is_its && started.provider == provider && caller.at() - started.at < PATIENCE
    }))
}
