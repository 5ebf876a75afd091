//! What a request is about, and whether the caller may.

use axum::RequestPartsExt;
use axum::extract::FromRequestParts;
use commands::Context;
use domain::ids::{ProjectId, TeamId, UserId};
use domain::policy::{self, Action, Grant, Permission, Resource, Scope};
use http::StatusCode;
use http::request::Parts;
use projections::audit_trail::AuditRow;
use projections::builds::BuildRow;
use projections::deployments::DeploymentRow;
use projections::past::{Origin, Then, Thing, View};
use projections::projects::{EnvironmentRow, ProjectRow};
use projections::teams::TeamRow;
use uuid::Uuid;

use super::api_token::narrowed;
use super::denied::{Place, Seen};
use super::{Caller, Needs, Principal, parameters, past};
use crate::body::Params;
use crate::error::ApiError;
use crate::platform::Platform;

/// Something of a tenant, from a caller who may see it and do what the route does.
#[derive(Clone, Debug)]
pub(crate) struct Scoped<T> {
    /// It.
    pub(crate) it: T,
    /// Its team.
    pub(crate) team_id: TeamId,
    caller: Caller,
    view: View,
    /// Only the gate makes one.
    _gate: (),
}

/// A team, or one project of it.
#[derive(Clone, Debug)]
pub(crate) struct TeamPart {
    /// That project; none for all of the team.
    pub(crate) project: Option<ProjectId>,
}

/// The position of an event of a team.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventAt(pub(crate) i64);

impl<T> Scoped<T> {
    /// The circumstances of a command about it.
    pub(crate) fn context(&self) -> Context {
        self.caller.context(Some(self.team_id))
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The query tables as of when the caller asks about: of now, unless he says otherwise.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Whether the caller may do this, too, to a project of the team or to the team itself.
    pub(crate) async fn may(
        &self,
        platform: &Platform,
        project_id: Option<ProjectId>,
        resource: Resource,
        action: Action,
    ) -> Result<bool, ApiError> {
        let grants = self.caller.grants(platform).await?;
        Ok(policy::allows(&grants, resource, action, &self.caller.context_of(self.team_id, project_id)))
    }

    /// Refuses to give away in the team what the caller does not hold there.
    pub(crate) async fn must_hold(
        &self,
        platform: &Platform,
        permissions: &[Permission],
    ) -> Result<(), ApiError> {
        let held = unconditional(self.caller.grants(platform).await?);
        let context = policy::Context { team_id: Some(self.team_id), ..policy::Context::default() };
        let holds = |given: &&Permission| policy::allows(&held, given.resource, given.action, &context);
        match permissions.iter().find(|given| !holds(given)) {
            None => Ok(()),
            Some(missing) => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "not_held",
                format!(
                    "Nobody can give what he does not hold: the right to {} {}.",
                    missing.action, missing.resource
                ),
            )),
        }
    }
}

impl<S: Send + Sync, T: Clone + Send + Sync + 'static> FromRequestParts<S> for Scoped<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::not_found)
    }
}

/// What is held without a condition. The rest could be given away without it.
pub(super) fn unconditional(mut grants: Vec<Grant>) -> Vec<Grant> {
    for grant in &mut grants {
        grant.permissions.retain(|permission| permission.conditions.is_empty());
    }
    grants
}

/// Everything that a caller holds.
pub(super) async fn grants(platform: &Platform, principal: &Principal) -> Result<Vec<Grant>, ApiError> {
    match principal {
        Principal::Nobody => Ok(vec![]),
        Principal::PersonalToken { user, scopes, .. } => {
            Ok(narrowed(projections::roles::grants_of(&platform.pool, *user).await?, scopes))
        }
        Principal::Session { user, .. } | Principal::ProviderToken { user } => {
            Ok(projections::roles::grants_of(&platform.pool, *user).await?)
        }
        Principal::ProjectToken { project, scopes, .. } => {
            let permissions = scopes.iter().flat_map(|scope| scope.permissions()).collect();
            Ok(vec![Grant { scope: Scope::Project { project_id: *project }, permissions }])
        }
    }
}

/// Finds what the route is about, as it is or as it was `then`, and puts it into the request, or refuses. What may
/// be seen of the past is what may be seen now. Answers whether the caller may see the whole of it: its project or
/// team.
pub(super) async fn admit(
    platform: &Platform,
    needs: Needs,
    then: Option<(Then, &'static [&'static str])>,
    caller: &Caller,
    parts: &mut Parts,
    seen: &Seen,
) -> Result<bool, ApiError> {
    let Some((resource, action)) = needs.right() else {
        return if needs == Needs::SignedIn { caller.user().map(|_| true) } else { Ok(true) };
    };
    let params: Params = parts.extract().await?;
    let grants = grants(platform, &caller.principal).await?;
    let ask = Question { grants: &grants, resource, action, caller, seen };
    let (origin, view) = match then {
        None => (None, View::now(platform.pool.clone())),
        Some((then, all)) => {
            let (origin, view) = past::open(platform, &ask, needs, &params, then, all).await?;
            (Some(origin), view)
        }
    };
    let search = Search { platform, params, origin, ask };
    match needs {
        Needs::Public | Needs::SignedIn => Ok(true),
        Needs::Team(..)
        | Needs::TeamOrSelf(..)
        | Needs::TeamPart(..)
        | Needs::Cause(..)
        | Needs::Event(..) => search.in_a_team(needs, view, parts).await,
        Needs::Project(..)
        | Needs::AnyProject(..)
        | Needs::Environment(..)
        | Needs::Build(..)
        | Needs::Deployment(..) => search.in_a_project(needs, view, parts).await,
    }
}

/// Where a route leads, and who asks to go there.
struct Search<'a> {
    platform: &'a Platform,
    params: Params,
    /// Where it belonged, when it is asked about as of a moment.
    origin: Option<Origin>,
    ask: Question<'a>,
}

impl Search<'_> {
    /// What a team has, beside projects.
    async fn in_a_team(self, needs: Needs, view: View, parts: &mut Parts) -> Result<bool, ApiError> {
        match needs {
            Needs::Team(..) => {
                let team = match self.origin {
                    None => find_team(self.platform, self.params.text("team")).await?,
                    Some(origin) => {
                        let team = projections::teams::find(&view, origin.team_id).await?;
                        team.ok_or_else(ApiError::not_found)?
                    }
                };
                self.ask.scoped(parts, ("team", team.id.0), team.id, None, team, view)
            }
            Needs::TeamOrSelf(..) => {
                let team = find_team(self.platform, self.params.text("team")).await?;
                let named = self.params.text("user").parse::<UserId>();
                let is_self = self.ask.caller.user().is_ok_and(|user| named.is_ok_and(|named| named == user));
                let seeing = Question { resource: Resource::Team, action: Action::Read, ..self.ask };
                let ask = if is_self { &seeing } else { &self.ask };
                ask.scoped(parts, ("team", team.id.0), team.id, None, team, view)
            }
            Needs::TeamPart(..) => {
                let team = find_team(self.platform, self.params.text("team")).await?;
                let project = parameter_once(parts, "projectId")?.map(|id| id.parse::<ProjectId>());
                let project = project.transpose().map_err(|_| ApiError::not_found())?;
                let living = match project {
                    Some(id) => projections::projects::find(&self.platform.pool, id).await?,
                    None => None,
                };
                if living.as_ref().is_some_and(|living| living.team_id != team.id) {
                    return Err(ApiError::not_found());
                }
                // Of a project that was deleted only the team's own may still read.
                let place = living.map(|living| living.id);
                self.ask.scoped(parts, ("team", team.id.0), team.id, place, TeamPart { project }, view)
            }
            Needs::Cause(..) => {
                let it =
                    projections::audit_trail::find(&self.platform.pool, self.params.id("event")?).await?;
                let it: AuditRow = it.ok_or_else(ApiError::not_found)?;
                let team = it.team_id.ok_or_else(ApiError::not_found)?;
                self.ask.scoped(parts, ("event", it.event_id.0), team, it.project_id, it, view)
            }
            Needs::Event(..) => {
                let position = self.params.id("position")?;
                // Who only belongs to the team learns nothing of events: they are as unknown as another team's.
                let team = projections::log::team_at(&self.platform.pool, position).await?;
                let team = team.ok_or_else(ApiError::not_found)?;
                self.ask
                    .scoped(parts, ("team", team.0), team, None, EventAt(position), view)
                    .map_err(|_| ApiError::not_found())
            }
            _ => Err(ApiError::not_found()),
        }
    }

    /// A project, and what it has.
    async fn in_a_project(self, needs: Needs, view: View, parts: &mut Parts) -> Result<bool, ApiError> {
        match needs {
            Needs::Project(..) => {
                let project = find_project(&view, self.params.id("project")?).await?;
                self.ask.scoped(
                    parts,
                    ("project", project.id.0),
                    project.team_id,
                    Some(project.id),
                    project,
                    view,
                )
            }
            Needs::AnyProject(..) => {
                let id: ProjectId = self.params.id("project")?;
                let thing = Thing::Project(id);
                let origin =
                    Origin::find(&self.platform.pool, thing).await?.ok_or_else(ApiError::not_found)?;
                self.ask.scoped(parts, ("project", id.0), origin.team_id, origin.project_id, origin, view)
            }
            Needs::Environment(..) => {
                let id = self.params.id("environment")?;
                let it = projections::projects::find_environment(&view, id).await?;
                let it: EnvironmentRow = it.ok_or_else(ApiError::not_found)?;
                self.ask.scoped(
                    parts,
                    ("environment", it.environment.id.0),
                    it.team_id,
                    Some(it.project_id),
                    it,
                    view,
                )
            }
            Needs::Build(..) => {
                let it: Option<BuildRow> = projections::builds::find(&view, self.params.id("build")?).await?;
                let it = it.ok_or_else(ApiError::not_found)?;
                find_project(&view, it.project_id).await?;
                self.ask.scoped(parts, ("build", it.id.0), it.team_id, Some(it.project_id), it, view)
            }
            Needs::Deployment(..) => {
                let id = self.params.id("deployment")?;
                let it: Option<DeploymentRow> = projections::deployments::find(&view, id).await?;
                let it = it.ok_or_else(ApiError::not_found)?;
                find_project(&view, it.project_id).await?;
                self.ask.scoped(parts, ("deployment", it.id.0), it.team_id, Some(it.project_id), it, view)
            }
            _ => Err(ApiError::not_found()),
        }
    }
}

impl Caller {
    /// What a permission's conditions are asked about.
    pub(crate) fn context_of(&self, team_id: TeamId, project_id: Option<ProjectId>) -> policy::Context {
        policy::Context {
            team_id: Some(team_id),
            project_id,
            user_id: self.user().ok(),
            ip: Some(self.ip),
            ..policy::Context::default()
        }
    }
}

/// Whether a caller may do something to something.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    grants: &'a [Grant],
    resource: Resource,
    action: Action,
    caller: &'a Caller,
    seen: &'a Seen,
}

impl Question<'_> {
    /// 404 for whom it does not exist, 403 for who may see it but not do this. Answers whether he may see it.
    pub(super) fn permits(&self, team_id: TeamId, project_id: Option<ProjectId>) -> Result<bool, ApiError> {
        let context = self.caller.context_of(team_id, project_id);
        let what = if project_id.is_some() { Resource::Project } else { Resource::Team };
        let sees = policy::allows(self.grants, what, Action::Read, &context);
        if policy::allows(self.grants, self.resource, self.action, &context) {
            return Ok(sees);
        }
        let detail = format!("This needs the right to {} {}.", self.action, self.resource);
        Err(if sees { ApiError::forbidden(detail) } else { ApiError::not_found() })
    }

    /// Puts it into the request for the handler, as `permits` says.
    fn scoped<T: Clone + Send + Sync + 'static>(
        &self,
        parts: &mut Parts,
        (kind, id): (&'static str, Uuid),
        team_id: TeamId,
        project_id: Option<ProjectId>,
        it: T,
        view: View,
    ) -> Result<bool, ApiError> {
        let _ = self.seen.place.set(Place { team_id, project_id, kind, id });
        let sees = self.permits(team_id, project_id)?;
        parts.extensions.insert(Scoped { it, team_id, caller: self.caller.clone(), view, _gate: () });
        Ok(sees)
    }
}

/// A query parameter that must not stand there twice: who reads it later might read the other one.
fn parameter_once(parts: &Parts, name: &'static str) -> Result<Option<String>, ApiError> {
    let mut values = parameters(parts, name);
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(ApiError::field(name, "duplicate_field", "stands there more than once")),
    }
}

/// By id or slug.
pub(super) async fn find_team(platform: &Platform, name: &str) -> Result<TeamRow, ApiError> {
    let team = match name.parse() {
        Ok(id) => projections::teams::find(&platform.pool, id).await?,
        Err(_) if name.parse::<domain::values::Slug>().is_ok() => {
            projections::teams::find_by_slug(&platform.pool, name).await?
        }
        Err(_) => None,
    };
    team.ok_or_else(ApiError::not_found)
}

async fn find_project(view: &View, id: ProjectId) -> Result<ProjectRow, ApiError> {
    projections::projects::find(view, id).await?.ok_or_else(ApiError::not_found)
}
