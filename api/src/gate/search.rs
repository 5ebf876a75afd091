//! What a request is about: found by its path, its query or its body, before any handler.

use axum::RequestPartsExt;
use domain::ids::{ProjectId, TeamId, UserId};
use domain::policy::{self, Action, Resource, Scope};
use http::HeaderMap;
use http::request::Parts;
use projections::audit_trail::AuditRow;
use projections::builds::BuildRow;
use projections::deployments::DeploymentRow;
use projections::endpoints::EndpointRow;
use projections::past::{Origin, Then, Thing, View};
use projections::projects::{EnvironmentRow, ProjectRow};
use projections::roles::{AssignmentRow, RoleRow};
use projections::teams::{InstallationRow, TeamRow};

use super::scope::{EventAt, Given, GivenRole, Question, TeamPart, grants};
use super::{Caller, Needs, closed, is_unsafe, parameters, past, sender};
use crate::body::Params;
use crate::error::ApiError;
use crate::platform::Platform;

/// Finds what the route is about, as it is or as it was `then`, and puts it into the request, or refuses. What may
/// be seen of the past is what may be seen now. Answers whether the caller may see the whole of it: its project or
/// team.
pub(super) async fn admit(
    platform: &Platform,
    needs: Needs,
    then: Option<(Then, &'static [&'static str])>,
    caller: &Caller,
    parts: &mut Parts,
    body: &[u8],
) -> Result<bool, ApiError> {
    if needs == Needs::Sender {
        return sender::admit(platform, caller, parts).await.map(|()| true);
    }
    let Some((resource, action)) = needs.right() else {
        return if needs == Needs::SignedIn { caller.user().map(|_| true) } else { Ok(true) };
    };
    let params: Params = parts.extract().await?;
    let grants = grants(platform, &caller.principal).await?;
    let ask = Question::new(&grants, (resource, action), caller);
    let (origin, view) = match then {
        None => (None, View::now(platform.pool.clone())),
        Some((then, all)) => {
            let (origin, view) = past::open(platform, &ask, needs, &params, then, all).await?;
            (Some(origin), view)
        }
    };
    let search = Search { platform, params, origin, ask };
    let sees = match needs {
        Needs::Public | Needs::SignedIn | Needs::Credential | Needs::Sender => Ok(true),
        Needs::Given(..) => search.in_what_is_given(body, parts).await,
        Needs::Team(..)
        | Needs::ClosedTeam(..)
        | Needs::NamedTeam(..)
        | Needs::TeamOrSelf(..)
        | Needs::TeamPart(..)
        | Needs::Role(..)
        | Needs::Installation(..)
        | Needs::Endpoint(..)
        | Needs::Assignment(..)
        | Needs::Cause(..)
        | Needs::Event(..) => search.in_a_team(needs, view, parts).await,
        Needs::Project(..)
        | Needs::AnyProject(..)
        | Needs::Environment(..)
        | Needs::Build(..)
        | Needs::Deployment(..) => search.in_a_project(needs, view, parts).await,
    }?;
    in_organization(platform, caller, parts).await?;
    Ok(sees)
}

/// The team that the caller means, by id or slug. Whoever says so is held to it, whatever else he may see.
pub(super) const ORGANIZATION: &str = "x-organization-id";

/// The team that a request must name so.
pub(crate) async fn named_team(platform: &Platform, headers: &HeaderMap) -> Result<TeamRow, ApiError> {
    let named = headers.get(ORGANIZATION).and_then(|name| name.to_str().ok());
    let missing = || ApiError::field(ORGANIZATION, "required", "must be the id or the slug of a team");
    find_team(platform, named.ok_or_else(missing)?).await
}

/// The team that a request is held to, where it names one.
pub(crate) async fn meant_team(platform: &Platform, headers: &HeaderMap) -> Result<Option<TeamId>, ApiError> {
    let Some(meant) = headers.get(ORGANIZATION) else { return Ok(None) };
    let meant = meant.to_str().map_err(|_| ApiError::not_found())?;
    Ok(Some(find_team(platform, meant).await?.id))
}

async fn in_organization(platform: &Platform, caller: &Caller, parts: &Parts) -> Result<(), ApiError> {
    let Some(place) = caller.about.place.get() else { return Ok(()) };
    let meant = meant_team(platform, &parts.headers).await?;
    let is_it = meant.is_none_or(|team| team == place.team_id);
    is_it.then_some(()).ok_or_else(ApiError::not_found)
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
            Needs::ClosedTeam(..) => {
                let (name, asked) = (self.params.text("team"), (self.ask.right(), self.ask.caller));
                if closed::admit(self.platform, name, asked, parts).await? {
                    return Ok(true);
                }
                let team = find_team(self.platform, name).await?;
                self.ask.scoped(parts, ("team", team.id.0), team.id, None, team, view)
            }
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
            Needs::NamedTeam(..) => self.in_a_named_team(view, parts).await,
            Needs::TeamOrSelf(..) => {
                let team = find_team(self.platform, self.params.text("team")).await?;
                let named = self.params.text("user").parse::<UserId>();
                let is_self = self.ask.caller.user().is_ok_and(|user| named.is_ok_and(|named| named == user));
                let seeing = self.ask.instead(Resource::Team, Action::Read);
                let ask = if is_self { &seeing } else { &self.ask };
                ask.scoped(parts, ("team", team.id.0), team.id, None, team, view)
            }
            Needs::TeamPart(..) => {
                let team = find_team(self.platform, self.params.text("team")).await?;
                let project = parameter_once(parts, "projectId")?.map(|id| id.parse::<ProjectId>());
                let project = project.transpose().map_err(|_| ApiError::not_found())?;
                let mut living = None;
                if let Some(id) = project {
                    // One of another team is as unknown as none.
                    let origin = Origin::find(&self.platform.pool, Thing::Project(id)).await?;
                    origin.filter(|origin| origin.team_id == team.id).ok_or_else(ApiError::not_found)?;
                    living = projections::projects::find(&self.platform.pool, id).await?;
                }
                // Of a project that was deleted only the team's own may still read.
                let place = living.map(|living| living.id);
                self.ask.scoped(parts, ("team", team.id.0), team.id, place, TeamPart { project }, view)
            }
            Needs::Role(..) => {
                let it = projections::roles::find(&self.platform.pool, self.params.id("role")?).await?;
                let it: RoleRow = it.ok_or_else(ApiError::not_found)?;
                self.ask.scoped(parts, ("role", it.id.0), it.team_id, None, it, view)
            }
            Needs::Installation(..) => self.in_an_installation(view, parts).await,
            Needs::Endpoint(..) => self.in_an_endpoint(view, parts).await,
            Needs::Assignment(..) => self.in_what_was_given(parts).await,
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

    /// The team that a header names.
    async fn in_a_named_team(self, view: View, parts: &mut Parts) -> Result<bool, ApiError> {
        let team = named_team(self.platform, &parts.headers).await?;
        self.ask.scoped(parts, ("team", team.id.0), team.id, None, team, view)
    }

    /// An installation that a team has connected.
    async fn in_an_installation(self, view: View, parts: &mut Parts) -> Result<bool, ApiError> {
        let id = self.params.id("installation")?;
        let it = projections::teams::installation(&self.platform.pool, id).await?;
        let it: InstallationRow = it.ok_or_else(ApiError::not_found)?;
        self.ask.scoped(parts, ("installation", it.id.0), it.team_id, None, it, view)
    }

    /// Where a team is told what happens.
    async fn in_an_endpoint(self, view: View, parts: &mut Parts) -> Result<bool, ApiError> {
        let it = projections::endpoints::find(&self.platform.pool, self.params.id("endpoint")?).await?;
        let it: EndpointRow = it.ok_or_else(ApiError::not_found)?;
        self.ask.scoped(parts, ("endpoint", it.id.0), it.team_id, None, it, view)
    }

    /// A role that was given, where it holds.
    async fn in_what_was_given(self, parts: &mut Parts) -> Result<bool, ApiError> {
        let id = self.params.id("assignment")?;
        let it = projections::roles::find_assignment(&self.platform.pool, id).await?;
        let it: AssignmentRow = it.ok_or_else(ApiError::not_found)?;
        let sees = match it.team_id {
            Some(team) => {
                let context = self.ask.caller.context_of(team, it.project_id);
                self.ask.about(("role_assignment", it.id.0), &context)?
            }
            // What holds everywhere concerns those alone whose rights hold everywhere.
            None => self.ask.permits_everywhere().map(|()| true).map_err(|_| ApiError::not_found())?,
        };
        parts.extensions.insert(GivenRole::new(it));
        Ok(sees)
    }

    /// What the request itself says.
    async fn in_what_is_given(self, body: &[u8], parts: &mut Parts) -> Result<bool, ApiError> {
        let scope = if is_unsafe(&parts.method) { scope_of(body)? } else { asked_scope(parts)? };
        let team_id = match scope {
            Scope::Global => None,
            Scope::Team { team_id } => Some(find_team(self.platform, &team_id.to_string()).await?.id),
            Scope::Project { project_id } => {
                let now = View::now(self.platform.pool.clone());
                Some(find_project(&now, project_id).await?.team_id)
            }
        };
        let named = self.params.text("user").parse::<UserId>();
        let is_self = self.ask.caller.user().is_ok_and(|user| named.is_ok_and(|named| named == user));
        let project_id = match scope {
            Scope::Project { project_id } => Some(project_id),
            _ => None,
        };
        let Some(team) = team_id else {
            if !is_self {
                self.ask.permits_everywhere()?;
            }
            parts.extensions.insert(Given::new(scope, team_id));
            return Ok(true);
        };
        let what = if project_id.is_some() { Resource::Project } else { Resource::Team };
        let seeing = self.ask.instead(what, Action::Read);
        let ask = if is_self { &seeing } else { &self.ask };
        let place = project_id.map_or(("team", team.0), |project| ("project", project.0));
        let sees = ask.about(place, &self.ask.caller.context_of(team, project_id))?;
        parts.extensions.insert(Given::new(scope, team_id));
        Ok(sees)
    }

    /// What a path names besides must be what the thing belongs to.
    fn is_of(&self, name: &str, id: uuid::Uuid) -> Result<(), ApiError> {
        match self.params.text(name) {
            "" => Ok(()),
            named if named.parse() == Ok(id) => Ok(()),
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
                let origin = past::origin(self.platform, Thing::Project(id)).await?;
                self.ask.scoped(parts, ("project", id.0), origin.team_id, origin.project_id, origin, view)
            }
            Needs::Environment(..) => {
                let id = self.params.id("environment")?;
                let it = projections::projects::find_environment(&view, id).await?;
                let it: EnvironmentRow = it.ok_or_else(ApiError::not_found)?;
                self.is_of("project", it.project_id.0)?;
                let context = policy::Context {
                    environment: Some(it.environment.id),
                    ..self.ask.caller.context_of(it.team_id, Some(it.project_id))
                };
                self.ask.scoped_in(parts, ("environment", it.environment.id.0), context, it, view)
            }
            Needs::Build(..) => {
                let it: Option<BuildRow> = projections::builds::find(&view, self.params.id("build")?).await?;
                let it = it.ok_or_else(ApiError::not_found)?;
                find_project(&view, it.project_id).await?;
                self.is_of("project", it.project_id.0)?;
                self.is_of("environment", it.environment_id.0)?;
                let context = policy::Context {
                    environment: Some(it.environment_id),
                    branch: it.known_branch(),
                    build_id: Some(it.id),
                    ..self.ask.caller.context_of(it.team_id, Some(it.project_id))
                };
                self.ask.scoped_in(parts, ("build", it.id.0), context, it, view)
            }
            Needs::Deployment(..) => {
                let id = self.params.id("deployment")?;
                let it: Option<DeploymentRow> = projections::deployments::find(&view, id).await?;
                let it = it.ok_or_else(ApiError::not_found)?;
                find_project(&view, it.project_id).await?;
                let build: Option<BuildRow> =
                    projections::builds::find(&self.platform.pool, it.build_id).await?;
                let context = policy::Context {
                    environment: Some(it.environment_id),
                    branch: build.and_then(|build| build.known_branch()),
                    build_id: Some(it.build_id),
                    ..self.ask.caller.context_of(it.team_id, Some(it.project_id))
                };
                self.ask.scoped_in(parts, ("deployment", it.id.0), context, it, view)
            }
            _ => Err(ApiError::not_found()),
        }
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

/// The scope of a command.
fn scope_of(body: &[u8]) -> Result<Scope, ApiError> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let scope: Scope = serde_json::from_value(body["scope"].clone()).map_err(|_| {
        ApiError::field(
            "scope",
            "invalid",
            "must be {type: global}, {type: team, teamId} or {type: project, projectId}",
        )
    })?;
    // A global scope with a team in it was meant for that team: nobody gets more than was written.
    let (given, kept) = (body["scope"].as_object(), serde_json::json!(scope));
    match given.into_iter().flatten().find(|(field, _)| kept.get(field).is_none()) {
        Some((field, _)) => {
            Err(ApiError::field(format!("scope.{field}"), "unknown_field", "is not a field of this scope"))
        }
        None => Ok(scope),
    }
}

/// The scope of a question.
fn asked_scope(parts: &Parts) -> Result<Scope, ApiError> {
    let (team, project) = (parameter_once(parts, "teamId")?, parameter_once(parts, "projectId")?);
    match (team, project) {
        (None, None) => Ok(Scope::Global),
        (Some(team), None) => Ok(Scope::Team { team_id: team.parse().map_err(|_| ApiError::not_found())? }),
        (None, Some(project)) => {
            Ok(Scope::Project { project_id: project.parse().map_err(|_| ApiError::not_found())? })
        }
        (Some(_), Some(_)) => {
            Err(ApiError::field("teamId", "too_many", "must not stand beside projectId, which has one team"))
        }
    }
}

/// By id or slug.
pub(crate) async fn find_team(platform: &Platform, name: &str) -> Result<TeamRow, ApiError> {
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
