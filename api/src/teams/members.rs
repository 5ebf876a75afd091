//! `GET /teams/{team}/members`, `PATCH/DELETE /teams/{team}/members/{user}`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::UserId;
use domain::policy::BuiltinRole;
use domain::sealed::purpose;
use domain::team::{MemberRole, TeamCommand};
use http::StatusCode;
use projections::teams::{MemberRow, TeamRow};
use projections::users::UserRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{Body, Params, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, versioned};
use crate::shape;

/// Another role.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeMember)]
pub(crate) struct ChangeRole {
    #[schema(value_type = shape::MemberRole)]
    role: MemberRole,
}

/// A member as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Member)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    #[schema(value_type = uuid::Uuid)]
    user_id: UserId,
    #[schema(value_type = shape::MemberRole)]
    role: MemberRole,
    created_at: DateTime<Utc>,
    /// Absent when no provider has verified one, or it was erased.
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let members = projections::teams::members(team.view(), team.it.id).await?;
    let (members, next) = page.cut(members, |member| member.user_id.0)?;
    let ids: Vec<UserId> = members.iter().map(|member| member.user_id).collect();
    let users = projections::users::find_all(team.view(), &ids).await?;
    let mut views = Vec::with_capacity(members.len());
    for member in &members {
        let user = users.iter().find(|user| user.id == member.user_id);
        views.push(view(&platform, member, user).await?);
    }
    Ok(versioned(items(views, next), team.it.version))
}

pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    params: Params,
    Body(ChangeRole { role }): Body<ChangeRole>,
) -> Result<Done, ApiError> {
    let user_id: UserId = params.id("user")?;
    let by = role_of_caller(&platform, &team).await?;
    team.must_hold(&platform, &BuiltinRole::from(role).permissions()).await?;
    let command = TeamCommand::ChangeMemberRole { user_id, role, by };
    let receipt = platform.commands.team(team.it.id, command, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let members = projections::teams::members(&platform.pool, team.it.id).await?;
        let member =
            members.iter().find(|member| member.user_id == user_id).ok_or_else(ApiError::not_found)?;
        let user = projections::users::find(&platform.pool, user_id).await?;
        view(&platform, member, user.as_ref()).await
    })
    .await
}

/// Also for who leaves.
pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    params: Params,
) -> Result<Done, ApiError> {
    let user_id: UserId = params.id("user")?;
    let by = role_of_caller(&platform, &team).await?;
    let command = TeamCommand::RemoveMember { user_id, by };
    let receipt = platform.commands.team(team.it.id, command, &team.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "userId": user_id, "removed": true })))
        .await
}

/// The rank of who asks: only owners touch owners. Whoever got in by another role alone has the least.
pub(crate) async fn role_of_caller(
    platform: &Platform,
    team: &Scoped<TeamRow>,
) -> Result<MemberRole, ApiError> {
    let user = team.caller().user()?;
    let role = projections::teams::membership(&platform.pool, team.it.id, user).await?;
    Ok(role.unwrap_or(MemberRole::Viewer))
}

async fn view(platform: &Platform, member: &MemberRow, user: Option<&UserRow>) -> Result<Value, ApiError> {
    let mut view = View {
        user_id: member.user_id,
        role: member.role,
        created_at: member.created_at,
        email: None,
        first_name: None,
        last_name: None,
    };
    if let Some(user) = user {
        let vault = platform.commands.vault();
        let email = vault.open_text(&user.email, purpose::USER_EMAIL).await?;
        view.email = Some(email).filter(|email| !email.is_empty());
        view.first_name = Some(vault.open_text(&user.first_name, purpose::USER_FIRST_NAME).await?);
        view.last_name = Some(vault.open_text(&user.last_name, purpose::USER_LAST_NAME).await?);
    }
    Ok(json!(view))
}
