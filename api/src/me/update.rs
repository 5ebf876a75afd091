//! `PATCH /me` — changes name, picture, and where one looks.

use std::sync::Arc;

use axum::extract::State;
use commands::Receipt;
use domain::ids::{ProjectId, TeamId, UserId};
use domain::policy::{self, Action, Resource};
use domain::sealed::{KeyOwner, Sealed, purpose};
use domain::user::UserCommand;
use domain::values::PersonName;
use http::StatusCode;
use serde::Deserialize;

use crate::body::{Body, nullable};
use crate::error::ApiError;
use crate::gate::Caller;
use crate::me::show;
use crate::platform::Platform;
use crate::reply::Done;

/// What is absent stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeMe {
    #[schema(value_type = Option<String>)]
    first_name: Option<PersonName>,
    #[schema(value_type = Option<String>)]
    last_name: Option<PersonName>,
    photo_url: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    active_team_id: Option<Option<TeamId>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    active_project_id: Option<Option<ProjectId>>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(change): Body<ChangeMe>,
) -> Result<Done, ApiError> {
    let id = caller.user()?;
    check(&platform, &caller, &change).await?;
    let context = caller.context(None);
    let seal = async |purpose: &str, text: Option<&str>| -> Result<Option<Sealed>, ApiError> {
        let Some(text) = text else { return Ok(None) };
        let vault = platform.commands.vault();
        let sealed =
            vault.seal(KeyOwner::User(id), purpose, platform.new_id(), text.as_bytes(), context.at).await?;
        Ok(Some(sealed))
    };
    let profile = UserCommand::ChangeUserProfile {
        first_name: seal(purpose::USER_FIRST_NAME, change.first_name.as_ref().map(PersonName::as_str))
            .await?,
        last_name: seal(purpose::USER_LAST_NAME, change.last_name.as_ref().map(PersonName::as_str)).await?,
        photo_url: seal(purpose::USER_PHOTO_URL, change.photo_url.as_deref()).await?,
    };
    let mut receipt: Receipt = platform.commands.user(id, profile, &context).await?;
    if let Some(team_id) = change.active_team_id {
        receipt = further(&platform, id, UserCommand::SwitchActiveTeam { team_id }, &caller).await?;
    }
    if let Some(project_id) = change.active_project_id {
        receipt = further(&platform, id, UserCommand::SwitchActiveProject { project_id }, &caller).await?;
    }
    Done::new(&platform, StatusCode::OK, receipt, async || show::view(&platform, id).await).await
}

async fn further(
    platform: &Platform,
    id: UserId,
    command: UserCommand,
    caller: &Caller,
) -> Result<Receipt, ApiError> {
    Ok(platform.commands.user(id, command, &caller.further(None)).await?)
}

async fn check(platform: &Platform, caller: &Caller, change: &ChangeMe) -> Result<(), ApiError> {
    if let Some(url) = &change.photo_url
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
