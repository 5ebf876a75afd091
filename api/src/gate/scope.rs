//! What a handler gets to see, and whether the caller may.

use axum::extract::FromRequestParts;
use commands::Context;
use domain::ids::{ProjectId, TeamId, UserId};
use domain::policy::{self, Action, Grant, Permission, Resource, Scope};
use http::StatusCode;
use http::request::Parts;
use projections::past::View;
use projections::roles::AssignmentRow;
use uuid::Uuid;

use super::api_token::narrowed;
use super::denied::Place;
use super::{Caller, Principal, Standing};
use crate::error::ApiError;
use crate::platform::Platform;

/// Something of a tenant, from a caller who may see it and do what the route does.
#[derive(Clone, Debug)]
pub(crate) struct Scoped<T> {
    /// It.
    pub(crate) it: T,
    /// Its team.
    pub(crate) team_id: TeamId,
    /// The right that was asked for, and where.
    right: (Resource, Action, policy::Context),
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

/// The scope that a request gives, from a caller who may do what the route does there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// It.
    pub(crate) scope: Scope,
    /// Its team; none for everywhere.
    pub(crate) team_id: Option<TeamId>,
    /// Only the gate makes one.
    _gate: (),
}

/// A role that was given, from a caller who may do what the route does where it holds.
#[derive(Clone, Debug)]
pub(crate) struct GivenRole {
    /// It.
    pub(crate) it: AssignmentRow,
    /// Only the gate makes one.
    _gate: (),
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

    /// Refuses what the caller may do in general, but not to what his command turned out to be about.
    pub(crate) async fn must(
        &self,
        platform: &Platform,
        action: Action,
        narrow: impl FnOnce(policy::Context) -> policy::Context,
    ) -> Result<(), ApiError> {
        let (resource, _, context) = &self.right;
        let grants = self.caller.grants(platform).await?;
        if policy::allows(&grants, *resource, action, &narrow(context.clone())) {
            return Ok(());
        }
        Err(ApiError::forbidden(format!("This needs the right to {action} {resource}, also here.")))
    }

    /// Refuses to give away in the team what the caller does not hold there.
    pub(crate) async fn must_hold(
        &self,
        platform: &Platform,
        permissions: &[Permission],
    ) -> Result<(), ApiError> {
        let held = self.caller.grants(platform).await?;
        let place = policy::Context { team_id: Some(self.team_id), ..policy::Context::default() };
        must_hold(&held, permissions, &place)
    }

    /// What lets the caller go on for as long as he may.
    pub(crate) fn standing(&self) -> Standing {
        Standing::new(self.caller.clone(), Some(self.right.clone()))
    }
}

/// Refuses to give away at a place what is not held there.
pub(crate) fn must_hold<'a>(
    held: &[Grant],
    given: impl IntoIterator<Item = &'a Permission>,
    place: &policy::Context,
) -> Result<(), ApiError> {
    let Some(missing) = given.into_iter().find(|given| !policy::covers(held, given, place)) else {
        return Ok(());
    };
    let conditions = if missing.conditions.is_empty() { "" } else { ", under these conditions" };
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "not_held",
        format!(
            "Nobody can give what he does not hold: the right to {} {}{conditions}.",
            missing.action, missing.resource
        ),
    ))
}

impl<S: Send + Sync, T: Clone + Send + Sync + 'static> FromRequestParts<S> for Scoped<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::not_found)
    }
}

impl Given {
    pub(super) fn new(scope: Scope, team_id: Option<TeamId>) -> Self {
        Self { scope, team_id, _gate: () }
    }
}

impl GivenRole {
    pub(super) fn new(it: AssignmentRow) -> Self {
        Self { it, _gate: () }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Given {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().copied().ok_or_else(ApiError::not_found)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for GivenRole {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::not_found)
    }
}

/// Everything that a caller holds.
pub(super) async fn grants(platform: &Platform, principal: &Principal) -> Result<Vec<Grant>, ApiError> {
    Ok(match principal.person() {
        Some(user) => principal.left_of(projections::roles::grants_of(&platform.pool, user).await?),
        None => principal.left_of(vec![]),
    })
}

/// The same, with what a person had in teams that are closed.
pub(super) async fn grants_before_closing(
    platform: &Platform,
    principal: &Principal,
) -> Result<Vec<Grant>, ApiError> {
    Ok(match principal.person() {
        Some(user) => {
            principal.left_of(projections::roles::grants_before_closing(&platform.pool, user).await?)
        }
        None => vec![],
    })
}

impl Principal {
    fn person(&self) -> Option<UserId> {
        match self {
            Self::Session { user, .. } | Self::ProviderToken { user } | Self::PersonalToken { user, .. } => {
                Some(*user)
            }
            Self::Nobody | Self::ProjectToken { .. } | Self::Deployment { .. } => None,
        }
    }

    /// What may be done in this way of what its person holds; with a project's token that is its own.
    fn left_of(&self, held: Vec<Grant>) -> Vec<Grant> {
        match self {
            Self::PersonalToken { scopes, .. } => narrowed(held, scopes),
            Self::ProjectToken { project, scopes, .. } => {
                let permissions = scopes.iter().flat_map(|scope| scope.permissions()).collect();
                vec![Grant { scope: Scope::Project { project_id: *project }, permissions }]
            }
            Self::Deployment { .. } => vec![],
            Self::Nobody | Self::Session { .. } | Self::ProviderToken { .. } => held,
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

    /// Lets the caller ask about a team, or a project of it, that his request names; as the gate does it.
    pub(crate) async fn enter(
        &self,
        platform: &Platform,
        (team_id, project_id): (TeamId, Option<ProjectId>),
        (resource, action): (Resource, Action),
    ) -> Result<(), ApiError> {
        let grants = self.grants(platform).await?;
        let ask = Question { grants: &grants, resource, action, caller: self };
        let place = project_id.map_or(("team", team_id.0), |project| ("project", project.0));
        ask.about(place, &self.context_of(team_id, project_id))?;
        let _ = self.about.admitted.set(());
        Ok(())
    }
}

/// Whether a caller may do something to something.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    grants: &'a [Grant],
    resource: Resource,
    action: Action,
    pub(super) caller: &'a Caller,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        grants: &'a [Grant],
        (resource, action): (Resource, Action),
        caller: &'a Caller,
    ) -> Self {
        Self { grants, resource, action, caller }
    }

    /// What is asked for.
    pub(super) fn right(&self) -> (Resource, Action) {
        (self.resource, self.action)
    }

    /// The same about another right.
    pub(super) fn instead(self, resource: Resource, action: Action) -> Self {
        Self { resource, action, ..self }
    }

    /// 404 for whom it does not exist, 403 for who may see it but not do this. Answers whether he may see it.
    pub(super) fn permits(&self, team_id: TeamId, project_id: Option<ProjectId>) -> Result<bool, ApiError> {
        self.permits_in(&self.caller.context_of(team_id, project_id))
    }

    fn permits_in(&self, context: &policy::Context) -> Result<bool, ApiError> {
        let what = if context.project_id.is_some() { Resource::Project } else { Resource::Team };
        let sees = policy::allows(self.grants, what, Action::Read, context);
        if policy::allows(self.grants, self.resource, self.action, context) {
            return Ok(sees);
        }
        let detail = format!("This needs the right to {} {}.", self.action, self.resource);
        Err(if sees { ApiError::forbidden(detail) } else { ApiError::not_found() })
    }

    /// Everybody knows that there is an everywhere: who may not is told so.
    pub(super) fn permits_everywhere(&self) -> Result<(), ApiError> {
        let context = policy::Context {
            user_id: self.caller.user().ok(),
            ip: Some(self.caller.ip),
            ..policy::Context::default()
        };
        if policy::allows(self.grants, self.resource, self.action, &context) {
            return Ok(());
        }
        let detail = format!("This needs the right to {} {} everywhere.", self.action, self.resource);
        Err(ApiError::forbidden(detail))
    }

    /// As `permits`, and a refusal is recorded as one about this place.
    pub(super) fn about(
        &self,
        (kind, id): (&'static str, Uuid),
        context: &policy::Context,
    ) -> Result<bool, ApiError> {
        if let Some(team_id) = context.team_id {
            let place = Place { team_id, project_id: context.project_id, kind, id };
            let _ = self.caller.about.place.set(place);
        }
        self.permits_in(context)
    }

    /// Puts it into the request for the handler, as `permits` says.
    pub(super) fn scoped<T: Clone + Send + Sync + 'static>(
        &self,
        parts: &mut Parts,
        place: (&'static str, Uuid),
        team_id: TeamId,
        project_id: Option<ProjectId>,
        it: T,
        view: View,
    ) -> Result<bool, ApiError> {
        self.scoped_in(parts, place, self.caller.context_of(team_id, project_id), it, view)
    }

    /// As `scoped`, where more is known than team and project.
    pub(super) fn scoped_in<T: Clone + Send + Sync + 'static>(
        &self,
        parts: &mut Parts,
        place: (&'static str, Uuid),
        context: policy::Context,
        it: T,
        view: View,
    ) -> Result<bool, ApiError> {
        let sees = self.about(place, &context)?;
        let team_id = context.team_id.ok_or_else(ApiError::not_found)?;
        let right = (self.resource, self.action, context);
        parts.extensions.insert(Scoped { it, team_id, right, caller: self.caller.clone(), view, _gate: () });
        Ok(sees)
    }
}
