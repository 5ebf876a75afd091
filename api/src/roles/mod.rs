//! Roles and who has them. Here `GET /roles` — the built-in roles; `GET /teams/{team}/roles` — the custom ones of a team.

pub(crate) mod assignments;
pub(crate) mod check;
pub(crate) mod review;
mod why;
pub(crate) mod write;

use axum::Json;
use chrono::{DateTime, Utc};
use domain::ids::{RoleId, TeamId};
use domain::policy::{BuiltinRole, Permission};
use domain::values::DisplayName;
use projections::roles::RoleRow;
use projections::teams::TeamRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::reply::{Page, items};
use crate::shape;

/// A built-in role as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Builtin {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    #[schema(value_type = Vec<shape::Permission>)]
    permissions: Vec<Permission>,
    inherits: [String; 0],
    is_system: bool,
}

/// A custom role as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: RoleId,
    #[schema(value_type = uuid::Uuid)]
    team_id: TeamId,
    #[schema(value_type = shape::Name)]
    name: &'a DisplayName,
    description: Option<&'a str>,
    #[schema(value_type = Vec<shape::Permission>)]
    permissions: &'a [Permission],
    /// Ids of custom roles of the team or names of built-in ones.
    inherits: &'a [String],
    is_system: bool,
    created_at: DateTime<Utc>,
    version: i64,
}

pub(crate) async fn builtin() -> Json<Value> {
    let view = BuiltinRole::ALL.into_iter().map(|role| {
        json!(Builtin {
            id: role.as_str(),
            name: role.as_str(),
            description: role.description(),
            permissions: role.permissions(),
            inherits: [],
            is_system: true,
        })
    });
    items(view.collect(), None)
}

pub(crate) async fn of_team(
    team: Scoped<TeamRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let roles = projections::roles::of_team(team.view(), team.it.id).await?;
    let (roles, next) = page.cut(roles, |role| role.id.0)?;
    Ok(items(roles.iter().map(view).collect(), next))
}

fn view(role: &RoleRow) -> Value {
    let definition = &role.definition;
    json!(View {
        id: role.id,
        team_id: role.team_id,
        name: &definition.name,
        description: definition.description.as_deref(),
        permissions: &definition.permissions,
        inherits: &definition.inherits,
        is_system: false,
        created_at: role.created_at,
        version: role.version,
    })
}
