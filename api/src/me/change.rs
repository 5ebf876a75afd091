//! `PATCH /api/v1/me`: other names, another picture, another team or project to look at.

use std::sync::Arc;

use axum::extract::State;
use commands::{CommandError, Receipt};
use domain::ids::{ProjectId, TeamId, UserId};
use domain::sealed::{KeyOwner, Sealed, purpose};
use domain::user::UserCommand;
use domain::values::PersonName;
use serde::Deserialize;
use url::Url;

use crate::body::{Body, nullable};
use crate::caller::{Caller, Tenant};
use crate::error::{ApiError, Problem};
use crate::people::{UserView, step};
use crate::platform::Platform;
use crate::reply::{Reply, Settled};

const MAX_URL: usize = 2048;

/// What is absent stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Change {
    #[schema(value_type = Option<String>)]
    first_name: Option<PersonName>,
    #[schema(value_type = Option<String>)]
    last_name: Option<PersonName>,
    /// An https address; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    photo_url: Option<Option<String>>,
    /// One of one's teams; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Uuid>)]
    active_team_id: Option<Option<TeamId>>,
    /// One of one's projects; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Uuid>)]
    active_project_id: Option<Option<ProjectId>>,
}

#[utoipa::path(patch, path = "/api/v1/me", operation_id = "changeMe", tag = "me",
    request_body = Change, responses((status = 200, body = UserView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(change): Body<Change>,
) -> Result<Reply<UserView>, ApiError> {
    let user_id = caller.person()?;
    let commands = commands(&platform, &caller, user_id, change).await?;
    let receipt = carry_out(&platform, &caller, user_id, commands).await?;
    let settled = match receipt {
        Some(receipt) => Some(platform.settled(receipt).await),
        None => None,
    };
    let row = projections::users::find(&platform.pool, user_id).await?.ok_or_else(Problem::not_found)?;
    let view = UserView::open(platform.commands.vault(), &row).await?;
    let unchanged = Settled { position: 0, version: row.version, lagging: false };
    Ok(match settled.unwrap_or(unchanged) {
        Settled { position: 0, version, .. } => Reply::resource(version, view),
        settled => Reply::done(settled, view),
    })
}

/// Checks everything before the first command is sent.
async fn commands(
    platform: &Platform,
    caller: &Caller,
    user_id: UserId,
    change: Change,
) -> Result<Vec<UserCommand>, ApiError> {
    let mut commands = Vec::new();
    let Change { first_name, last_name, photo_url, active_team_id, active_project_id } = change;
    if let Some(Some(url)) = &photo_url {
        check_url(url)?;
    }
    if let Some(Some(team)) = active_team_id {
        let row = projections::teams::find(&platform.pool, team).await?;
        if !row.is_some_and(|row| caller.sees(&row.place())) {
            return Err(Problem::invalid("activeTeamId", "unknown", "is no team of yours").into());
        }
    }
    if let Some(Some(project)) = active_project_id {
        let row = projections::projects::find(&platform.pool, project).await?;
        if !row.is_some_and(|row| caller.sees(&row.place())) {
            return Err(Problem::invalid("activeProjectId", "unknown", "is no project of yours").into());
        }
    }
    if first_name.is_some() || last_name.is_some() || photo_url.is_some() {
        let first = first_name.as_ref().map(PersonName::as_str);
        let last = last_name.as_ref().map(PersonName::as_str);
        let photo = photo_url.as_ref().map(|url| url.as_deref().unwrap_or_default());
        commands.push(UserCommand::ChangeUserProfile {
            first_name: seal(platform, user_id, purpose::USER_FIRST_NAME, first).await?,
            last_name: seal(platform, user_id, purpose::USER_LAST_NAME, last).await?,
            photo_url: seal(platform, user_id, purpose::USER_PHOTO_URL, photo).await?,
        });
    }
    if let Some(team_id) = active_team_id {
        commands.push(UserCommand::SwitchActiveTeam { team_id });
    }
    if let Some(project_id) = active_project_id {
        commands.push(UserCommand::SwitchActiveProject { project_id });
    }
    Ok(commands)
}

async fn carry_out(
    platform: &Platform,
    caller: &Caller,
    user_id: UserId,
    commands: Vec<UserCommand>,
) -> Result<Option<Receipt>, ApiError> {
    let context = caller.context();
    let (mut last, mut previews) = (None, vec![]);
    for (n, command) in commands.into_iter().enumerate() {
        match platform.commands.user(user_id, command, &step(&context, n)).await {
            Err(CommandError::DryRun(more)) => previews.extend(more),
            answer => last = Some(answer?),
        }
    }
    if previews.is_empty() { Ok(last) } else { Err(ApiError::DryRun(previews)) }
}

async fn seal(
    platform: &Platform,
    user_id: UserId,
    purpose: &str,
    text: Option<&str>,
) -> Result<Option<Sealed>, ApiError> {
    match text {
        Some(text) => Ok(Some(platform.seal(KeyOwner::User(user_id), purpose, text).await?)),
        None => Ok(None),
    }
}

fn check_url(text: &str) -> Result<(), Problem> {
    let good = text.len() <= MAX_URL && Url::parse(text).is_ok_and(|url| url.scheme() == "https");
    if good { Ok(()) } else { Err(Problem::invalid("photoUrl", "invalid", "must be an https address")) }
}
