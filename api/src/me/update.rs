//! `PATCH /me` — changes name, picture, and where one looks.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use commands::Receipt;
use domain::ids::{ProjectId, TeamId, UserId};
use domain::policy::{self, Action, Resource};
use domain::sealed::{KeyOwner, Sealed, purpose};
use domain::user::UserCommand;
use domain::values::PersonName;
use http::StatusCode;
use serde::Deserialize;

use crate::body::{Body, nullable};
use crate::dry_run::rehearsed;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::me::show;
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;

/// What is absent stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeMe {
    #[schema(value_type = Option<shape::PersonName>)]
    first_name: Option<PersonName>,
    #[schema(value_type = Option<shape::PersonName>)]
    last_name: Option<PersonName>,
    /// An https address; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    photo_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<uuid::Uuid>)]
    active_team_id: Option<Option<TeamId>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<uuid::Uuid>)]
    active_project_id: Option<Option<ProjectId>>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(change): Body<ChangeMe>,
) -> Result<Response, ApiError> {
    let id = caller.user()?;
    check(&platform, &caller, &change).await?;
    let context = caller.context(None);
    let seal = async |purpose: &str, text: Option<&str>| -> Result<Option<Sealed>, ApiError> {
        let Some(text) = text else { return Ok(None) };
        let vault = platform.commands.vault();
        let owner = KeyOwner::User(id);
        let sealing = platform.new_id();
        Ok(Some(vault.seal_for(&context, owner, purpose, sealing, text.as_bytes()).await?))
    };
    let mut commands = Vec::new();
    if change.first_name.is_some() || change.last_name.is_some() || change.photo_url.is_some() {
        let (first, last) = (change.first_name.as_ref(), change.last_name.as_ref());
        let photo = change.photo_url.as_ref().map(|url| url.as_deref().unwrap_or_default());
        commands.push(UserCommand::ChangeUserProfile {
            first_name: seal(purpose::USER_FIRST_NAME, first.map(PersonName::as_str)).await?,
            last_name: seal(purpose::USER_LAST_NAME, last.map(PersonName::as_str)).await?,
            photo_url: seal(purpose::USER_PHOTO_URL, photo).await?,
        });
    }
    commands.extend(change.active_team_id.map(|team_id| UserCommand::SwitchActiveTeam { team_id }));
    commands
        .extend(change.active_project_id.map(|project_id| UserCommand::SwitchActiveProject { project_id }));
    let Some(receipt) = carry_out(&platform, id, commands, &caller).await? else {
        return show::handler(State(platform), caller).await;
    };
    let done = Done::new(&platform, StatusCode::OK, receipt, async || show::view(&platform, id).await);
    Ok(done.await?.into_response())
}

/// One command after the other.
async fn carry_out(
    platform: &Platform,
    id: UserId,
    commands: Vec<UserCommand>,
    caller: &Caller,
) -> Result<Option<Receipt>, ApiError> {
    if caller.is_dry_run() {
        return Err(rehearsed(platform, id, commands, caller).await?);
    }
    let mut last = None;
    for (n, command) in commands.into_iter().enumerate() {
        last = Some(platform.commands.user(id, command, &caller.step(None, n)).await?);
    }
    Ok(last)
}

async fn check(platform: &Platform, caller: &Caller, change: &ChangeMe) -> Result<(), ApiError> {
    if let Some(Some(url)) = &change.photo_url
        && (url.len() > 2048 || !url.starts_with("https://") || url.chars().any(char::is_control))
    {
        return Err(ApiError::field("photoUrl", "invalid", "must be an https address"));
    }
    let grants = caller.grants(platform).await?;
    if let Some(Some(team)) = change.active_team_id {
        let context = policy::Context { team_id: Some(team), ..policy::Context::default() };
        if !policy::allows(&grants, Resource::Team, Action::Read, &context) {
            return Err(ApiError::field("activeTeamId", "unknown", "must be a team of yours"));
        }
    }
    if let Some(Some(project)) = change.active_project_id {
        let row = projections::projects::find(&platform.pool, project).await?;
        let context = policy::Context {
            team_id: row.map(|row| row.team_id),
            project_id: Some(project),
            ..policy::Context::default()
        };
        if context.team_id.is_none() || !policy::allows(&grants, Resource::Project, Action::Read, &context) {
            return Err(ApiError::field("activeProjectId", "unknown", "must be a project that you may see"));
        }
    }
    Ok(())
}
