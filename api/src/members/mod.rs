//! Members of a team.

mod change_role;
mod list;
mod remove;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::ids::{TeamId, UserId};
use domain::sealed::purpose;
use domain::team::MemberRole;
use projections::teams::{self, MemberRow};
use projections::users::UserRow;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::platform::Platform;

pub(crate) fn routes() -> OpenApiRouter<Arc<Platform>> {
    OpenApiRouter::new()
        .routes(routes!(list::handler))
        .routes(routes!(change_role::handler))
        .routes(routes!(remove::handler))
}

/// A member.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberView {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    /// `owner`, `admin`, `developer` or `viewer`.
    #[schema(value_type = String)]
    role: MemberRole,
    email: String,
    first_name: String,
    last_name: String,
    created_at: DateTime<Utc>,
}

/// Members with their names.
async fn views(platform: &Platform, members: Vec<MemberRow>) -> Result<Vec<MemberView>, ApiError> {
    let ids: Vec<UserId> = members.iter().map(|member| member.user_id).collect();
    let users = projections::users::find_all(&platform.pool, &ids).await?;
    let mut views = Vec::with_capacity(members.len());
    for member in members {
        let user = users.iter().find(|user| user.id == member.user_id);
        views.push(view(platform, member, user).await?);
    }
    Ok(views)
}

async fn view(
    platform: &Platform,
    member: MemberRow,
    user: Option<&UserRow>,
) -> Result<MemberView, ApiError> {
    let vault = platform.commands.vault();
    let (email, first_name, last_name) = match user {
        None => Default::default(),
        Some(user) => (
            vault.open_text(&user.email, purpose::USER_EMAIL).await?,
            vault.open_text(&user.first_name, purpose::USER_FIRST_NAME).await?,
            vault.open_text(&user.last_name, purpose::USER_LAST_NAME).await?,
        ),
    };
    let MemberRow { user_id, role, created_at } = member;
    Ok(MemberView { user_id, role, email, first_name, last_name, created_at })
}

/// One member.
async fn find(platform: &Platform, team: TeamId, user: UserId) -> Result<Option<MemberRow>, ApiError> {
    let all = teams::members(&platform.pool, team).await?;
    Ok(all.into_iter().find(|member| member.user_id == user))
}

/// The caller's own role in a team. Whom a custom role alone lets in counts as the least member.
pub(crate) async fn own_role(
    platform: &Platform,
    caller: &Caller,
    team: TeamId,
) -> Result<MemberRole, ApiError> {
    let role = teams::membership(&platform.pool, team, caller.person()?).await?;
    Ok(role.unwrap_or(MemberRole::Viewer))
}
