//! `GET/POST /role-assignments`, `DELETE /role-assignments/{assignment}`, `GET /users/{user}/permissions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use commands::Step;
use domain::ids::{AssignmentId, ProjectId, RoleId, TeamId, UserId};
use domain::policy::{self, BuiltinRole, Permission, Scope};
use domain::role::{Effective, effective};
use domain::role_assignment::{RoleAssignment, RoleAssignmentCommand};
use domain::team::Team;
use http::StatusCode;
use projections::roles::AssignmentRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{Body, Params, Query};
use crate::error::ApiError;
use crate::gate::{Caller, Given, GivenRole, must_hold};
use crate::platform::Platform;
use crate::reply::{Done, Page, items};
use crate::shape;

/// Who gets which role where.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AssignRole {
    #[schema(value_type = uuid::Uuid)]
    user_id: UserId,
    /// Id of a custom role of the team or name of a built-in one.
    role_id: String,
    /// `{type: global}`, `{type: team, teamId}` or `{type: project, projectId}`; the gate has read it.
    #[schema(value_type = shape::Scope)]
    #[expect(dead_code, reason = "the handler gets it from the gate, which has judged it")]
    scope: Scope,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    given: Given,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let rows = match given.team_id {
        Some(team) => projections::roles::given_in(&platform.pool, team).await?,
        None => projections::roles::given_everywhere(&platform.pool).await?,
    };
    // Of a team all that is given in it, in its projects too; of a project that alone.
    let is_wanted = |row: &AssignmentRow| match given.scope {
        Scope::Project { project_id } => row.project_id == Some(project_id),
        Scope::Team { .. } | Scope::Global => true,
    };
    let rows = rows.into_iter().filter(is_wanted).collect();
    let (rows, next) = page.cut(rows, |row| row.id.0)?;
    Ok(items(rows.iter().map(view).collect(), next))
}

pub(crate) async fn assign(
    State(platform): State<Arc<Platform>>,
    given: Given,
    caller: Caller,
    Body(AssignRole { user_id, role_id: role, .. }): Body<AssignRole>,
) -> Result<Done, ApiError> {
    let (scope, context) = (given.scope, caller.context(given.team_id));
    let allows = permissions(&platform, given.team_id, &role).await?;
    must_hold(&caller.grants(&platform).await?, &allows, &place(scope, given.team_id))?;
    belongs(&platform, given.team_id, user_id).await?;
    let id = RoleAssignment::id(user_id, &role, scope);
    let known = projections::roles::find_assignment(&platform.pool, id).await?;
    let assign = RoleAssignmentCommand::AssignRole { user_id, role: role.clone(), scope };
    let receipt = if known.is_some_and(|known| known.lapsed) {
        // It ended with an earlier membership, which only the tables know: the log hears of both.
        let unassign = Step::RoleAssignment(id, RoleAssignmentCommand::UnassignRole);
        let steps = [unassign, Step::RoleAssignment(id, assign)];
        platform.commands.together(&steps, &context).await?
    } else {
        platform.commands.role_assignment(id, assign, &context).await?
    };
    // Who left between the question and the answer has left: what came after is taken back.
    if belongs(&platform, given.team_id, user_id).await.is_err() {
        let back = commands::Context { key: None, ..context };
        platform.commands.role_assignment(id, RoleAssignmentCommand::UnassignRole, &back).await?;
        return Err(no_member());
    }
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        let row = projections::roles::find_assignment(&platform.pool, id).await?;
        Ok(view(&row.ok_or_else(ApiError::not_found)?))
    })
    .await
}

/// Of what was given to himself everybody who may do this at all may give up all.
pub(crate) async fn unassign(
    State(platform): State<Arc<Platform>>,
    given: GivenRole,
    caller: Caller,
) -> Result<Done, ApiError> {
    let AssignmentRow { id, user_id, role, scope, team_id, .. } = given.it;
    if caller.user()? != user_id {
        let allows = permissions(&platform, team_id, &role).await?;
        must_hold(&caller.grants(&platform).await?, &allows, &place(scope, team_id))?;
    }
    let command = RoleAssignmentCommand::UnassignRole;
    let receipt = platform.commands.role_assignment(id, command, &caller.context(team_id)).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": id, "unassigned": true }))).await
}

/// What somebody holds where the question is about.
pub(crate) async fn of_user(
    State(platform): State<Arc<Platform>>,
    given: Given,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let user: UserId = params.id("user")?;
    let place = place(given.scope, given.team_id);
    let holdings = projections::roles::holdings_of(&platform.pool, &[user]).await?;
    let here: Vec<_> = holdings.iter().filter(|(_, holding)| holding.scope.covers(&place)).collect();
    if let Some(team) = given.team_id
        && here.is_empty()
        && belongs(&platform, Some(team), user).await.is_err()
    {
        return Err(ApiError::not_found());
    }
    let mut permissions: Vec<&Permission> = vec![];
    for Effective { permission, .. } in here.iter().flat_map(|(_, holding)| &holding.permissions) {
        if !permissions.contains(&permission) {
            permissions.push(permission);
        }
    }
    let roles = here.iter().map(|(_, holding)| json!({ "role": holding.role, "scope": holding.scope }));
    Ok(Json(json!({ "userId": user, "roles": roles.collect::<Vec<_>>(), "permissions": permissions })))
}

/// Where something is given, as questions about rights know places.
fn place(scope: Scope, team_id: Option<TeamId>) -> policy::Context {
    let project_id = match scope {
        Scope::Project { project_id } => Some(project_id),
        Scope::Team { .. } | Scope::Global => None,
    };
    policy::Context { team_id, project_id, ..policy::Context::default() }
}

/// What a built-in role or a custom one of the team allows. Roles of other teams are as unknown as none.
async fn permissions(
    platform: &Platform,
    team: Option<TeamId>,
    role: &str,
) -> Result<Vec<Permission>, ApiError> {
    let unknown =
        || ApiError::field("roleId", "unknown_role", "must be a role of the team or a built-in one");
    let all = if BuiltinRole::from_stored(role).is_some() {
        effective(role, |_| None)
    } else {
        let (team, id) = team.zip(role.parse::<RoleId>().ok()).ok_or_else(unknown)?;
        let book = platform.commands.roles_of(team).await?;
        // One id, one writing: another one would be another assignment.
        book.get(id).filter(|_| id.to_string() == role).ok_or_else(unknown)?;
        book.effective(role)
    };
    Ok(all.into_iter().map(|it| it.permission).collect())
}

/// Refuses whoever is no member of the team; for everywhere, whoever is no user. By the log, not by tables that lag.
async fn belongs(platform: &Platform, team: Option<TeamId>, user: UserId) -> Result<(), ApiError> {
    let is_known = match team {
        Some(team) => platform.commands.load::<Team>(team).await?.aggregate.role(user).is_some(),
        None => projections::users::find(&platform.pool, user).await?.is_some(),
    };
    if is_known { Ok(()) } else { Err(no_member()) }
}

fn no_member() -> ApiError {
    ApiError::field("userId", "no_member", "must be a member of the team")
}

/// A role that somebody has, as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RoleAssignment)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: AssignmentId,
    #[schema(value_type = uuid::Uuid)]
    user_id: UserId,
    role_id: &'a str,
    #[schema(value_type = shape::Scope)]
    scope: Scope,
    /// Where it holds, also of the project; null for everywhere.
    #[schema(value_type = Option<uuid::Uuid>)]
    team_id: Option<TeamId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    project_id: Option<ProjectId>,
    created_at: DateTime<Utc>,
}

fn view(row: &AssignmentRow) -> Value {
    json!(View {
        id: row.id,
        user_id: row.user_id,
        role_id: &row.role,
        scope: row.scope,
        team_id: row.team_id,
        project_id: row.project_id,
        created_at: row.created_at,
    })
}
