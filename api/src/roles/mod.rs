//! Roles and who has them. Here `GET /roles` — the built-in roles; `GET /teams/{team}/roles` — the custom ones of a team.

pub(crate) mod assignments;
pub(crate) mod check;
pub(crate) mod review;
mod why;
pub(crate) mod write;

use axum::Json;
use domain::policy::BuiltinRole;
use projections::roles::RoleRow;
use projections::teams::TeamRow;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::reply::{Page, items};

pub(crate) async fn builtin() -> Json<Value> {
    let view = BuiltinRole::ALL.into_iter().map(|role| {
        json!({
            "id": role.as_str(),
            "name": role.as_str(),
            "description": role.description(),
            "permissions": role.permissions(),
            "inherits": [],
            "isSystem": true,
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
    json!({
        "id": role.id,
        "teamId": role.team_id,
        "name": role.definition.name,
        "description": role.definition.description,
        "permissions": role.definition.permissions,
        "inherits": role.definition.inherits,
        "isSystem": false,
        "createdAt": role.created_at,
        "version": role.version,
    })
}
