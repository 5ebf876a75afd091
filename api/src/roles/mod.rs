//! `GET /roles` — the built-in roles; `GET /teams/{team}/roles` — the custom ones of a team;
//! `POST /permissions/check` — whether who asks may do something.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::{ProjectId, TeamId};
use domain::policy::{self, Action, BuiltinRole, Resource};
use projections::teams::TeamRow;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Body, Query};
use crate::error::ApiError;
use crate::gate::{Caller, Scoped};
use crate::platform::Platform;
use crate::reply::{Page, items};

/// A question about one's own rights.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Check {
    #[schema(value_type = String)]
    resource: Resource,
    #[schema(value_type = String)]
    action: Action,
    #[serde(default)]
    context: CheckContext,
}

/// Where.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CheckContext {
    #[schema(value_type = Option<String>)]
    team_id: Option<TeamId>,
    #[schema(value_type = Option<String>)]
    project_id: Option<ProjectId>,
}

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
    let view = roles.iter().map(|role| {
        json!({
            "id": role.id,
            "teamId": role.team_id,
            "name": role.definition.name,
            "description": role.definition.description,
            "permissions": role.definition.permissions,
            "inherits": role.definition.inherits,
            "isSystem": false,
            "createdAt": role.created_at,
        })
    });
    Ok(items(view.collect(), next))
}

pub(crate) async fn check(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Check { resource, action, context }): Body<Check>,
) -> Result<Json<Value>, ApiError> {
    let user_id = Some(caller.user()?);
    // The team of a project is looked up, never believed.
    let team_id = match context.project_id {
        Some(project) => projections::projects::find(&platform.pool, project).await?.map(|row| row.team_id),
        None => context.team_id,
    };
    let context = policy::Context {
        team_id,
        project_id: context.project_id,
        user_id,
        ip: Some(caller.ip),
        ..policy::Context::default()
    };
    let grants = caller.grants(&platform).await?;
    Ok(Json(json!({ "allowed": policy::allows(&grants, resource, action, &context) })))
}
