//! Who calls, and on what he may work.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use commands::{Context, IdempotencyKey, Mode};
use domain::envelope::Actor;
use domain::ids::{ProjectId, SessionId, TeamId, TokenId, UserId};
use domain::policy::{self, Action, Grant, Permission, Resource, Scope};
use domain::project::TokenScope;
use projections::builds::BuildRow;
use projections::deployments::DeploymentRow;
use projections::projects::{EnvironmentRow, ProjectRow};
use projections::teams::TeamRow;

use crate::error::{ApiError, Problem};

/// The circumstances of a request.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) request_id: String,
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) at: DateTime<Utc>,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) expected_version: Option<i64>,
    pub(crate) mode: Mode,
}

impl Facts {
    /// The circumstances of a command of somebody.
    pub(crate) fn context(&self, actor: Actor, on_behalf_of: Option<Actor>, team: Option<TeamId>) -> Context {
        Context {
            on_behalf_of,
            team_id: team,
            source_ip: self.source_ip.map(|ip| ip.to_string()),
            user_agent: self.user_agent.clone(),
            traceparent: self.traceparent.clone(),
            key: self.key.clone(),
            expected_version: self.expected_version,
            mode: self.mode,
            ..Context::bare(actor, self.request_id.clone(), self.at)
        }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A person who is signed in.
    Session {
        /// Who.
        user_id: UserId,
        /// The session.
        session_id: SessionId,
        /// What browsers must send besides the cookie.
        csrf_token: String,
    },
    /// A person's token.
    PersonalToken {
        /// Whose.
        user_id: UserId,
        /// The token.
        token_id: TokenId,
    },
    /// A project's token.
    ProjectToken {
        /// The token.
        token_id: TokenId,
        /// Whose.
        project_id: ProjectId,
        /// What for.
        scopes: Vec<TokenScope>,
    },
}

/// Somebody who was recognised, with what he holds. Only the gate makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    grants: Arc<[Grant]>,
    facts: Facts,
}

impl Caller {
    pub(crate) fn new(principal: Principal, grants: Vec<Grant>, facts: Facts) -> Self {
        Self { principal, grants: grants.into(), facts }
    }

    pub(crate) fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.facts.key = Some(key);
        self
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// When the request came.
    pub fn at(&self) -> DateTime<Utc> {
        self.facts.at
    }

    /// The person who calls or whose token it is; `None` for a project's token.
    pub fn user_id(&self) -> Option<UserId> {
        match &self.principal {
            Principal::Session { user_id, .. } | Principal::PersonalToken { user_id, .. } => Some(*user_id),
            Principal::ProjectToken { .. } => None,
        }
    }

    /// The person who calls, where only persons can do what is asked.
    pub fn person(&self) -> Result<UserId, ApiError> {
        self.user_id().ok_or_else(|| Problem::forbidden("only a person can do this").into())
    }

    /// Who acts, as the audit trail names him.
    pub fn actor(&self) -> Actor {
        match &self.principal {
            Principal::Session { user_id, .. } => Actor::User(*user_id),
            Principal::PersonalToken { token_id, .. } | Principal::ProjectToken { token_id, .. } => {
                Actor::Token(*token_id)
            }
        }
    }

    /// The circumstances of a command that concerns no team.
    pub fn context(&self) -> Context {
        self.context_in(None)
    }

    pub(crate) fn context_in(&self, team: Option<TeamId>) -> Context {
        let on_behalf_of = match &self.principal {
            Principal::PersonalToken { user_id, .. } => Some(Actor::User(*user_id)),
            Principal::Session { .. } | Principal::ProjectToken { .. } => None,
        };
        self.facts.context(self.actor(), on_behalf_of, team)
    }

    /// Everything the caller holds.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether anything he holds reaches this place. What it does not reach does not exist for him.
    pub fn sees(&self, place: &policy::Context) -> bool {
        self.grants.iter().any(|grant| match grant.scope {
            Scope::Global => true,
            Scope::Team { team_id } => place.team_id == Some(team_id),
            Scope::Project { project_id } => place.project_id == Some(project_id),
        })
    }

    /// Whether he may do this there.
    pub fn may(&self, resource: Resource, action: Action, place: &policy::Context) -> bool {
        let context = policy::Context { user_id: self.user_id(), ip: self.facts.source_ip, ..place.clone() };
        policy::allows(&self.grants, resource, action, &context)
    }

    /// Refuses what he may not do there.
    pub fn must(&self, resource: Resource, action: Action, place: &policy::Context) -> Result<(), ApiError> {
        if self.may(resource, action, place) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("you may not {action} {resource} here")).into())
    }

    /// Refuses to give away what the caller does not hold himself there.
    pub fn must_hold(&self, permissions: &[Permission], place: &policy::Context) -> Result<(), ApiError> {
        // What he holds only under a condition he could give away without it: it does not count.
        let free = |grant: &Grant| Grant {
            scope: grant.scope,
            permissions: grant
                .permissions
                .iter()
                .filter(|held| held.conditions.is_empty())
                .cloned()
                .collect(),
        };
        let held: Vec<Grant> = self.grants.iter().map(free).collect();
        let missing =
            permissions.iter().find(|given| !policy::allows(&held, given.resource, given.action, place));
        match missing {
            None => Ok(()),
            Some(given) => Err(Problem::new(403, "not_held", "Not allowed")
                .detail(format!(
                    "nobody can give what he does not hold: you may not {} {} here",
                    given.action, given.resource
                ))
                .into()),
        }
    }
}

/// What stands in a team, and possibly in a project.
pub trait Tenant {
    /// Where it stands, for the policy.
    fn place(&self) -> policy::Context;
}

/// Something that the caller of this request may work on as its route says. Only the gate makes one, so a
/// handler that has one needs no further question.
#[derive(Clone, Debug)]
pub struct Scoped<T> {
    object: T,
    caller: Caller,
}

/// What the gate has found and cleared for the caller.
#[derive(Clone, Debug)]
pub(crate) struct Cleared<T>(pub(crate) T);

impl<T: Tenant> Scoped<T> {
    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The circumstances of a command on it.
    pub fn context(&self) -> Context {
        self.caller.context_in(self.place().team_id)
    }

    /// Whether the caller may do this here, too.
    pub fn may(&self, resource: Resource, action: Action) -> bool {
        self.caller.may(resource, action, &self.place())
    }

    /// The thing itself.
    pub fn into_inner(self) -> T {
        self.object
    }
}

impl<T> Deref for Scoped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl Tenant for TeamRow {
    fn place(&self) -> policy::Context {
        policy::Context { team_id: Some(self.id), ..policy::Context::default() }
    }
}

impl Tenant for ProjectRow {
    fn place(&self) -> policy::Context {
        policy::Context {
            team_id: Some(self.team_id),
            project_id: Some(self.id),
            ..policy::Context::default()
        }
    }
}

impl Tenant for EnvironmentRow {
    fn place(&self) -> policy::Context {
        policy::Context {
            team_id: Some(self.team_id),
            project_id: Some(self.project_id),
            environment: Some(self.environment.id),
            branch: self.environment.branch.as_ref().map(ToString::to_string),
            ..policy::Context::default()
        }
    }
}

impl Tenant for BuildRow {
    fn place(&self) -> policy::Context {
        policy::Context {
            team_id: Some(self.team_id),
            project_id: Some(self.project_id),
            environment: Some(self.environment_id),
            branch: Some(self.branch.clone()),
            build_id: Some(self.id),
            ..policy::Context::default()
        }
    }
}

impl Tenant for DeploymentRow {
    fn place(&self) -> policy::Context {
        policy::Context {
            team_id: Some(self.team_id),
            project_id: Some(self.project_id),
            environment: Some(self.environment_id),
            build_id: Some(self.build_id),
            ..policy::Context::default()
        }
    }
}

/// Takes what the gate left. That it is absent is a mistake of ours: the route's need is another one.
fn left_by_gate<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, ApiError> {
    parts.extensions.get::<T>().cloned().ok_or_else(|| {
        Problem::internal(format!("the gate left no {}", std::any::type_name::<T>()).into()).into()
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Facts {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        left_by_gate(parts)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        left_by_gate(parts)
    }
}

impl<S: Send + Sync, T: Clone + Send + Sync + 'static> FromRequestParts<S> for Scoped<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Cleared(object) = left_by_gate(parts)?;
        Ok(Self { object, caller: left_by_gate(parts)? })
    }
}
