//! `POST /permissions/check` — whether somebody may do something, or might have, and why.
//!
//! Everybody may ask about himself. About others only who may read the audit trail there: the answer says who gave what
//! to whom.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId, UserId};
use domain::policy::{self, Action, Holding, Resource, Scope, explain};
use projections::past::{Origin, Thing, View};
use serde::Deserialize;
use serde_json::{Value, json};

use super::why::Reasons;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::{Caller, moment};
use crate::platform::Platform;
use crate::shape;

/// Kinds of streams that say who held what in a team.
pub(super) const OF_RIGHTS: &[&str] = &["role", "role_assignment", "project"];

/// A question about somebody's rights; about one's own without `userId`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Check {
    #[schema(value_type = Option<uuid::Uuid>)]
    user_id: Option<UserId>,
    #[schema(value_type = shape::Resource)]
    resource: Resource,
    #[schema(value_type = shape::Action)]
    action: Action,
    #[serde(default)]
    context: CheckContext,
    /// A time or a position of the log: as it was then.
    as_of: Option<String>,
}

/// Where, and what conditions are asked about.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CheckContext {
    #[schema(value_type = Option<uuid::Uuid>)]
    team_id: Option<TeamId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    project_id: Option<ProjectId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    branch: Option<String>,
    #[schema(value_type = Option<uuid::Uuid>)]
    build_id: Option<BuildId>,
    /// Of the asker when absent, for a question about himself.
    #[schema(value_type = Option<String>)]
    ip: Option<std::net::IpAddr>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(check): Body<Check>,
) -> Result<Json<Value>, ApiError> {
    let me = caller.user()?;
    let user = check.user_id.unwrap_or(me);
    let (team, project) = (team_of(&platform, &check).await?, check.context.project_id);
    let context = policy::Context {
        team_id: team,
        project_id: project,
        environment: check.context.environment,
        branch: check.context.branch,
        build_id: check.context.build_id,
        user_id: Some(user),
        ip: check.context.ip.or_else(|| (user == me).then_some(caller.ip)),
    };
    let Some(team) = team else {
        if user != me || check.as_of.is_some() {
            return Err(match project {
                Some(_) => ApiError::not_found(),
                None => ApiError::field("context.teamId", "required", "must say where, as must projectId"),
            });
        }
        let holdings = holdings(&View::now(platform.pool.clone()), user, None).await?;
        return answer(
            Reasons::without_events(&platform),
            &holdings,
            user,
            &check.resource,
            check.action,
            &context,
        )
        .await;
    };
    if user != me {
        caller.enter(&platform, (team, project), (Resource::Audit, Action::Read)).await?;
    } else if check.as_of.is_some() {
        let what = if project.is_some() { Resource::Project } else { Resource::Team };
        caller.enter(&platform, (team, project), (what, Action::Read)).await?;
    }
    let place = caller.context_of(team, project);
    let grants = caller.grants(&platform).await?;
    let tells = [Resource::Audit, Resource::TeamMembers]
        .into_iter()
        .any(|resource| policy::allows(&grants, resource, Action::Read, &place));
    let then = match &check.as_of {
        None => None,
        Some(text) => Some(moment(&platform, "asOf", text).await?),
    };
    let view = match then {
        None => View::now(platform.pool.clone()),
        Some(then) => {
            let origin = Origin::find(&platform.pool, Thing::Team(team)).await?;
            let extent = origin.ok_or_else(ApiError::not_found)?.extent(OF_RIGHTS);
            platform.archive.open(extent, then).await?
        }
    };
    // Of others nothing is told but what they hold here.
    let here = (user != me).then_some(&context);
    let holdings = holdings(&view, user, here).await?;
    let reasons = if tells {
        Reasons::up_to(&platform, then.map_or(i64::MAX, |then| then.position))
    } else {
        Reasons::without_events(&platform)
    };
    let mut told = answer(reasons, &holdings, user, &check.resource, check.action, &context).await?;
    if let Some(then) = then {
        told.0["asOf"] = json!({ "position": then.position, "at": then.at });
    }
    Ok(told)
}

/// The team of the question. That of a project is looked up, never believed.
async fn team_of(platform: &Platform, check: &Check) -> Result<Option<TeamId>, ApiError> {
    let Some(project) = check.context.project_id else {
        let Some(team) = check.context.team_id else { return Ok(None) };
        let known = projections::teams::find(&platform.pool, team).await?;
        return match known {
            None if check.user_id.is_some() || check.as_of.is_some() => Err(ApiError::not_found()),
            _ => Ok(Some(team)),
        };
    };
    if check.as_of.is_some() {
        // It may have gone since.
        let origin = Origin::find(&platform.pool, Thing::Project(project)).await?;
        let Some(team) = origin.map(|origin| origin.team_id) else { return Ok(None) };
        let is_closed = projections::teams::is_closed(&platform.pool, team).await?;
        return Ok(Some(team).filter(|_| !is_closed));
    }
    Ok(projections::projects::find(&platform.pool, project).await?.map(|row| row.team_id))
}

/// What somebody holds; with a place, what could hold there.
async fn holdings(
    view: &View,
    user: UserId,
    place: Option<&policy::Context>,
) -> Result<Vec<Holding>, ApiError> {
    let all = projections::roles::holdings_of(view, &[user]).await?;
    let is_wanted = |holding: &Holding| place.is_none_or(|place| holding.scope.covers(place));
    Ok(all.into_iter().map(|(_, holding)| holding).filter(is_wanted).collect())
}

async fn answer(
    mut reasons: Reasons<'_>,
    holdings: &[Holding],
    user: UserId,
    resource: &Resource,
    action: Action,
    context: &policy::Context,
) -> Result<Json<Value>, ApiError> {
    let verdict = explain(holdings, *resource, action, context);
    let because = reasons.of(user, &verdict).await?;
    let mut told = json!({ "allowed": verdict.allowed, "because": because });
    if !verdict.allowed {
        let scope = match (context.team_id, context.project_id) {
            (_, Some(project_id)) => Some(Scope::Project { project_id }),
            (Some(team_id), None) => Some(Scope::Team { team_id }),
            (None, None) => None,
        };
        told["missing"] = json!({ "resource": resource, "action": action, "scope": scope });
    }
    Ok(Json(told))
}
