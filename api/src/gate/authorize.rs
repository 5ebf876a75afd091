//! What the path names, whether the caller sees it, and whether he may do what the route does.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use domain::ids::UserId;
use domain::policy::{Action, Resource};
use domain::values::Slug;
use projections::teams::TeamRow;

use crate::caller::{Caller, Cleared, Principal, Tenant};
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::routes::{Need, Object, Route};

/// What is asked for, and whether it is something that everybody may do to himself.
struct Ask {
    object: Object,
    resource: Resource,
    action: Action,
    or_self: bool,
}

/// Lets the caller pass, or not. What he may work on is left in the extensions for the handler.
pub(super) async fn authorize(
    platform: &Platform,
    route: &Route,
    caller: &Caller,
    parts: &mut Parts,
) -> Result<(), ApiError> {
    let ask = match route.need {
        Need::Public => return Ok(()),
        Need::Person => return caller.person().map(drop),
        Need::Session => {
            return match caller.principal() {
                Principal::Session { .. } => Ok(()),
                _ => Err(Problem::forbidden("sign in for this: no token will do").into()),
            };
        }
        Need::On(object, resource, action) => Ask { object, resource, action, or_self: false },
        Need::OnOrSelf(object, resource, action) => Ask { object, resource, action, or_self: true },
    };
    let params = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| Problem::not_found())?;
    let param = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let is_self = || param("user").and_then(|user| user.parse::<UserId>().ok()) == caller.user_id();
    let ask = Ask { or_self: ask.or_self && is_self(), ..ask };
    let Some(name) = param(ask.object.parameter()) else {
        return Err(Problem::internal(format!("{} names no {:?}", route.path, ask.object).into()).into());
    };
    let pool = &platform.pool;
    match ask.object {
        Object::Team => pass(team(platform, name).await?, &ask, caller, parts),
        Object::Project => pass(projections::projects::find(pool, id(name)?).await?, &ask, caller, parts),
        Object::Environment => {
            pass(projections::projects::find_environment(pool, id(name)?).await?, &ask, caller, parts)
        }
        Object::Build => pass(projections::builds::find(pool, id(name)?).await?, &ask, caller, parts),
        Object::Deployment => {
            pass(projections::deployments::find(pool, id(name)?).await?, &ask, caller, parts)
        }
    }
}

fn pass<T>(found: Option<T>, ask: &Ask, caller: &Caller, parts: &mut Parts) -> Result<(), ApiError>
where
    T: Tenant + Clone + Send + Sync + 'static,
{
    let object = found.filter(|object| caller.sees(&object.place())).ok_or_else(Problem::not_found)?;
    if !ask.or_self {
        caller.must(ask.resource, ask.action, &object.place())?;
    }
    parts.extensions.insert(Cleared(object));
    Ok(())
}

/// What does not read as an id is as unknown as any other.
fn id<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| Problem::not_found().into())
}

/// A team by id or slug. No slug reads as an id of ours, so the two never meet.
async fn team(platform: &Platform, name: &str) -> Result<Option<TeamRow>, ApiError> {
    if let Ok(id) = name.parse() {
        return Ok(projections::teams::find(&platform.pool, id).await?);
    }
    let Ok(slug) = name.parse::<Slug>() else { return Ok(None) };
    Ok(projections::teams::find_by_slug(&platform.pool, slug.as_str()).await?)
}
