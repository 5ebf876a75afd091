//! API tokens as credentials: whether one works, from here, and what it may do.
//!
//! Invariant: a token never does what whoever made it may not do himself.

use std::net::IpAddr;
use std::time::Instant;

use axum::http::request::Parts;
use domain::ids::TokenId;
use domain::policy::{self, Action, Grant, Permission, Resource, Scope};
use domain::project::TokenScope;
use http::{Method, StatusCode};
use projections::projects::ProjectRow;
use projections::tokens::TokenRow;

use super::denied::{Place, Seen};
use super::fresh::Known;
use super::{Needs, Principal, caller, is_unsafe};
use crate::error::ApiError;
use crate::platform::Platform;

/// Who sends the token with this SHA-256. A token that works, but not from this address, is refused for the record.
pub(super) async fn by_api_token(
    platform: &Platform,
    parts: &Parts,
    seen: &Seen,
    request_id: &str,
    hash: &str,
) -> Result<Principal, ApiError> {
    let now = (platform.now)();
    let (row, place) = match platform.fresh.get(hash.as_bytes()) {
        Some(Known::Token(known)) => *known,
        _ => look_up(platform, hash).await?,
    };
    if !row.is_valid(hash, now) {
        return Err(ApiError::unauthorized());
    }
    let (token, scopes) = (row.id, row.scopes.clone());
    let principal = match (row.user_id, row.project_id) {
        (Some(user), _) => Principal::PersonalToken { token, user, scopes },
        (None, Some(project)) => Principal::ProjectToken { token, project, scopes },
        (None, None) => return Err(ApiError::unauthorized()),
    };
    let caller = caller(platform, parts, principal.clone(), request_id)?;
    if !is_allowed_from(&row, caller.ip) {
        let _ = seen.caller.set(caller);
        place.map(|place| seen.about.place.set(place));
        let _ = seen.for_the_record.set(());
        let detail = "This token is not believed from this address.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "address_not_allowed", detail));
    }
    platform.token_uses.note(token, now);
    Ok(principal)
}

/// A token whose maker still may what it may, with its project.
async fn look_up(platform: &Platform, hash: &str) -> Result<(TokenRow, Option<Place>), ApiError> {
    let read = Instant::now();
    let row = projections::tokens::find_by_hash(&platform.pool, hash).await?;
    let row = row.ok_or_else(ApiError::unauthorized)?;
    let place = place(platform, &row).await?;
    if let Some(place) = &place
        && !maker_may(platform, &row, place).await?
    {
        return Err(ApiError::unauthorized());
    }
    platform.fresh.keep(hash.as_bytes(), read, Known::Token(Box::new((row.clone(), place.clone()))));
    Ok((row, place))
}

/// Whether a token that was let in still is: it is there, in its time, and its maker still may what it may.
pub(super) async fn still_works(platform: &Platform, id: TokenId) -> Result<bool, ApiError> {
    let now = (platform.now)();
    let Some(row) = projections::tokens::find(&platform.pool, id).await? else { return Ok(false) };
    if row.expires_at.is_some_and(|at| at <= now) {
        return Ok(false);
    }
    let Some(project) = row.project_id else { return Ok(true) };
    match projections::projects::find(&platform.pool, project).await? {
        Some(project) => maker_may(platform, &row, &place_of(&project)).await,
        None => Ok(false),
    }
}

/// The project of a project's token; one that is there no more lets nobody in.
async fn place(platform: &Platform, row: &TokenRow) -> Result<Option<Place>, ApiError> {
    let Some(id) = row.project_id else { return Ok(None) };
    let project =
        projections::projects::find(&platform.pool, id).await?.ok_or_else(ApiError::unauthorized)?;
    Ok(Some(place_of(&project)))
}

fn place_of(project: &ProjectRow) -> Place {
    let id = project.id;
    Place { team_id: project.team_id, project_id: Some(id), kind: "project", id: id.0 }
}

fn is_allowed_from(row: &TokenRow, ip: IpAddr) -> bool {
    row.ip_allowlist.is_empty() || row.ip_allowlist.iter().any(|range| range.contains(&ip.to_canonical()))
}

/// A deployment's server does nothing but send. Scopes are of projects: of what belongs to the person a token with scopes may only read.
pub(super) fn in_scope(needs: Needs, principal: &Principal, method: &Method) -> Result<(), ApiError> {
    if matches!(principal, Principal::Deployment { .. }) && needs != Needs::Sender {
        return Err(ApiError::forbidden("With a deployment's token, telemetry is sent and nothing else."));
    }
    let is_narrow = matches!(principal, Principal::PersonalToken { scopes, .. } if !scopes.is_empty());
    if needs == Needs::SignedIn && is_narrow && is_unsafe(method) {
        return Err(ApiError::forbidden("The scopes of this token do not reach so far."));
    }
    Ok(())
}

/// Whether who made a project's token still holds what it may do. Of those that no person made nothing is asked.
async fn maker_may(platform: &Platform, row: &TokenRow, place: &Place) -> Result<bool, ApiError> {
    let Some(maker) = row.created_by else { return Ok(true) };
    let grants = projections::roles::grants_of(&platform.pool, maker).await?;
    let (team_id, project_id) = (Some(place.team_id), place.project_id);
    let context = policy::Context { team_id, project_id, ..policy::Context::default() };
    Ok(holds(grants, &row.scopes, &context))
}

/// Whether grants allow here, without a condition, all that the scopes do, and to see the project.
pub(crate) fn holds(grants: Vec<Grant>, scopes: &[TokenScope], context: &policy::Context) -> bool {
    let grants = unconditional(grants);
    let needed = scopes.iter().flat_map(|scope| scope.permissions());
    let mut needed = needed.chain([Permission::new(Resource::Project, Action::Read)]);
    needed.all(|permission| policy::allows(&grants, permission.resource, permission.action, context))
}

/// What is held without a condition. The rest could be given away without it.
fn unconditional(mut grants: Vec<Grant>) -> Vec<Grant> {
    for grant in &mut grants {
        grant.permissions.retain(|permission| permission.conditions.is_empty());
    }
    grants
}

/// Of the grants what the scopes leave, each under its own conditions. No scopes leave everything.
pub(super) fn narrowed(grants: Vec<Grant>, scopes: &[TokenScope]) -> Vec<Grant> {
    if scopes.is_empty() {
        return grants;
    }
    let left: Vec<Permission> = scopes.iter().flat_map(|scope| scope.permissions()).collect();
    let narrow = |grant: Grant| {
        let both = |held: &Permission| {
            let conditions = held.conditions.clone();
            let of_held = left.iter().filter(|wanted| covers(held, wanted)).cloned();
            of_held
                .map(move |wanted| Permission { conditions: conditions.clone(), ..wanted })
                .collect::<Vec<_>>()
        };
        Grant { permissions: grant.permissions.iter().flat_map(both).collect(), ..grant }
    };
    grants.into_iter().map(narrow).collect()
}

/// Whether one permission implies another, apart from its conditions.
fn covers(held: &Permission, wanted: &Permission) -> bool {
    let held = Permission { conditions: vec![], ..held.clone() };
    let grant = Grant { scope: Scope::Global, permissions: vec![held] };
    policy::allows(&[grant], wanted.resource, wanted.action, &policy::Context::default())
}

#[cfg(test)]
mod tests {
    use domain::ids::TeamId;
    use domain::policy::{BuiltinRole, Condition, ConditionValue, Operator};
    use uuid::Uuid;

    use super::*;

    fn in_team(permissions: Vec<Permission>) -> Vec<Grant> {
        vec![Grant { scope: Scope::Team { team_id: TeamId(Uuid::nil()) }, permissions }]
    }

    fn here() -> policy::Context {
        policy::Context { team_id: Some(TeamId(Uuid::nil())), ..policy::Context::default() }
    }

    #[test]
    fn a_scope_leaves_what_is_held_and_adds_nothing() {
        let owner = in_team(BuiltinRole::TeamOwner.permissions());
        let reads = narrowed(owner.clone(), &[TokenScope::Read]);
        let may = |grants: &[Grant], resource, action| policy::allows(grants, resource, action, &here());
        assert!(may(&reads, Resource::Project, Action::Read) && may(&reads, Resource::Build, Action::Read));
        for (resource, action) in [
            (Resource::Project, Action::Update),
            (Resource::Build, Action::Execute),
            (Resource::TeamMembers, Action::Read),
            (Resource::Audit, Action::Read),
        ] {
            assert!(may(&owner, resource, action) && !may(&reads, resource, action), "{resource} {action}");
        }
        let viewer = in_team(BuiltinRole::TeamViewer.permissions());
        let deploys = narrowed(viewer, &[TokenScope::Deploy]);
        assert!(!may(&deploys, Resource::Build, Action::Execute), "a viewer's token does not deploy");
        assert!(!may(
            &narrowed(owner.clone(), &[TokenScope::TelemetryWrite]),
            Resource::Project,
            Action::Read
        ));
        assert_eq!(narrowed(owner.clone(), &[]), owner);
    }

    #[test]
    fn a_condition_stays_and_is_no_ground_for_a_token_of_a_project() {
        let value = ConditionValue::Text("main".into());
        let only_main = Condition { field: "branch".into(), operator: Operator::Eq, value };
        let mut all = Permission::new(Resource::Any, Action::Any);
        all.conditions = vec![only_main];
        let held = in_team(vec![all]);
        let reads = narrowed(held.clone(), &[TokenScope::Read]);
        assert!(!policy::allows(&reads, Resource::Build, Action::Read, &here()));
        let on_main = policy::Context { branch: Some("main".into()), ..here() };
        assert!(policy::allows(&reads, Resource::Build, Action::Read, &on_main));
        assert!(!holds(held, &[TokenScope::Read], &on_main));
        assert!(holds(in_team(BuiltinRole::TeamDeveloper.permissions()), &[TokenScope::Deploy], &here()));
        assert!(!holds(in_team(BuiltinRole::TeamViewer.permissions()), &[TokenScope::Deploy], &here()));
        assert!(!holds(vec![], &[TokenScope::TelemetryWrite], &here()));
    }
}
