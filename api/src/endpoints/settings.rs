//! What somebody says about an endpoint, checked against what there is.

use std::collections::BTreeSet;

use commands::Context;
use domain::endpoint::{EventPattern, Kind, Target};
use domain::fact;
use domain::ids::{EndpointId, ProjectId, TeamId, UserId};
use domain::policy::{Action, Permission, Resource};
use domain::sealed::{KeyOwner, Sealed, purpose};

use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// Letters of an address at most.
const MAX_URL: usize = 2048;

/// Refuses to have events sent somewhere by who may not see them.
pub(super) async fn must_see_events<T>(
    platform: &Platform,
    scoped: &Scoped<T>,
    kind: Kind,
) -> Result<(), ApiError> {
    match kind {
        Kind::Webhook => scoped.must_hold(platform, &[Permission::new(Resource::Audit, Action::Read)]).await,
        Kind::Slack | Kind::Email => Ok(()),
    }
}

/// The address, sealed under the endpoint's own key.
pub(super) async fn sealed_url(
    platform: &Platform,
    context: &Context,
    id: EndpointId,
    url: &str,
) -> Result<Sealed, ApiError> {
    if url.len() > MAX_URL {
        return Err(ApiError::field("url", "too_long", format!("must have at most {MAX_URL} bytes")));
    }
    platform.outbound.check(url).map_err(|barred| ApiError::field("url", "invalid", barred.to_string()))?;
    let (owner, value) = (KeyOwner::Endpoint(id), url.as_bytes());
    let vault = platform.commands.vault();
    Ok(vault.seal_for(context, owner, purpose::ENDPOINT_URL, platform.new_id(), value).await?)
}

/// Where it leads, by what belongs to its kind and nothing else.
pub(super) async fn target(
    platform: &Platform,
    context: &Context,
    (team, id): (TeamId, EndpointId),
    kind: Kind,
    (url, to): (Option<&str>, Option<Vec<UserId>>),
) -> Result<Target, ApiError> {
    let misplaced = |field: &str| ApiError::field(field, "not_for_this_kind", "does not belong to this kind");
    if kind == Kind::Email {
        if url.is_some() {
            return Err(misplaced("url"));
        }
        let to = to.ok_or_else(|| ApiError::field("to", "required", "must name at least one member"))?;
        return Ok(Target::Email { to: members(platform, team, to).await? });
    }
    if to.is_some() {
        return Err(misplaced("to"));
    }
    let url = url.ok_or_else(|| ApiError::field("url", "required", "must be there"))?;
    let url = sealed_url(platform, context, id, url).await?;
    Ok(if kind == Kind::Slack { Target::Slack { url } } else { Target::Webhook { url } })
}

/// All of them members of the team.
pub(super) async fn members(
    platform: &Platform,
    team: TeamId,
    to: Vec<UserId>,
) -> Result<BTreeSet<UserId>, ApiError> {
    let members = projections::teams::members(&platform.pool, team).await?;
    let is_member = |user: &UserId| members.iter().any(|member| member.user_id == *user);
    if !to.iter().all(is_member) {
        return Err(ApiError::field("to", "unknown_member", "must name members of the team"));
    }
    Ok(to.into_iter().collect())
}

/// Types of events that there are.
pub(super) fn events(texts: Vec<String>) -> Result<BTreeSet<EventPattern>, ApiError> {
    let parse = |text: String| {
        let pattern: Option<EventPattern> = text.parse().ok();
        let is_known = |pattern: &EventPattern| fact::event_types().any(|known| pattern.covers(known));
        pattern.filter(is_known).ok_or_else(|| {
            let rule = "must name types of events (build.failed), or all of a kind (build.*)";
            ApiError::field("events", "invalid", rule)
        })
    };
    texts.into_iter().map(parse).collect()
}

/// All of them the team's.
pub(super) async fn projects(
    platform: &Platform,
    team: TeamId,
    ids: Vec<ProjectId>,
) -> Result<BTreeSet<ProjectId>, ApiError> {
    let ids: BTreeSet<ProjectId> = ids.into_iter().collect();
    for id in ids.iter().take(101) {
        let project = projections::projects::find(&platform.pool, *id).await?;
        if project.is_none_or(|project| project.team_id != team) {
            return Err(ApiError::field("projects", "unknown_project", "must name projects of the team"));
        }
    }
    Ok(ids)
}
