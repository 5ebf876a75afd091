//! `POST /teams/{team}/roles`, `PATCH/DELETE /roles/{role}` — custom roles.
//!
//! Nobody makes, changes or ends a role that allows, before or after, more than he holds himself in the whole team: the
//! role may be given to anybody there, and others, or he, may have it already.

use std::sync::Arc;

use axum::extract::State;
use commands::RoleChange;
use domain::ids::{RoleId, TeamId};
use domain::policy::{self, Permission};
use domain::role::{RoleBook, RoleDefinition};
use domain::values::DisplayName;
use http::StatusCode;
use projections::roles::RoleRow;
use projections::teams::TeamRow;
use serde::Deserialize;
use serde_json::json;

use super::view;
use crate::body::{Body, nullable};
use crate::error::ApiError;
use crate::gate::{Scoped, must_hold};
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;

/// A role to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateRole {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    description: Option<String>,
    /// `{resource, action, conditions?: [{field, operator, value}]}`.
    #[serde(default)]
    #[schema(value_type = Vec<shape::Permission>)]
    permissions: Vec<Permission>,
    /// Ids of custom roles of the team or names of built-in ones.
    #[serde(default)]
    inherits: Vec<String>,
}

/// What is to be otherwise.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeRole {
    #[schema(value_type = Option<shape::Name>)]
    name: Option<DisplayName>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[schema(value_type = Option<Vec<shape::Permission>>)]
    permissions: Option<Vec<Permission>>,
    inherits: Option<Vec<String>>,
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(CreateRole { name, description, permissions, inherits }): Body<CreateRole>,
) -> Result<Done, ApiError> {
    let definition = RoleDefinition { name, description, permissions, inherits };
    let change = RoleChange::Create(definition);
    write(&platform, &team, (team.it.id, platform.new_id()), change, StatusCode::CREATED).await
}

pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    role: Scoped<RoleRow>,
    Body(change): Body<ChangeRole>,
) -> Result<Done, ApiError> {
    let book = platform.commands.roles_of(role.team_id).await?;
    let old = book.get(role.it.id).ok_or_else(ApiError::not_found)?.clone();
    let definition = RoleDefinition {
        name: change.name.unwrap_or(old.name),
        description: change.description.unwrap_or(old.description),
        permissions: change.permissions.unwrap_or(old.permissions),
        inherits: change.inherits.unwrap_or(old.inherits),
    };
    let change = RoleChange::Change(definition);
    write(&platform, &role, (role.team_id, role.it.id), change, StatusCode::OK).await
}

/// Whoever had it has it no longer.
pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    role: Scoped<RoleRow>,
) -> Result<Done, ApiError> {
    write(&platform, &role, (role.team_id, role.it.id), RoleChange::Delete, StatusCode::OK).await
}

async fn write<T>(
    platform: &Platform,
    scoped: &Scoped<T>,
    (team, id): (TeamId, RoleId),
    change: RoleChange,
    status: StatusCode,
) -> Result<Done, ApiError> {
    let held = scoped.caller().grants(platform).await?;
    let place = policy::Context { team_id: Some(team), ..policy::Context::default() };
    let name = id.to_string();
    let may = |before: &RoleBook, after: &RoleBook| {
        let both = before.effective(&name).into_iter().chain(after.effective(&name));
        must_hold(&held, &both.map(|it| it.permission).collect::<Vec<_>>(), &place)
    };
    let is_delete = matches!(change, RoleChange::Delete);
    let receipt = platform.commands.change_role(team, id, change, may, &scoped.context()).await?;
    // With a repeated key it is the role of the first time.
    let id = receipt.aggregate_id.parse().unwrap_or(id);
    Done::new(platform, status, receipt, async || {
        if is_delete {
            return Ok(json!({ "id": id, "deleted": true }));
        }
        let row = projections::roles::find(&platform.pool, id).await?;
        Ok(view(&row.ok_or_else(ApiError::not_found)?))
    })
    .await
}
