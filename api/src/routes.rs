//! Every route and who may call it. What is not in this table is denied.

use axum::http::Method;
use domain::policy::{Action, Resource};

use Need::{On, OnOrSelf, Person, Public, Session};
use Object::Team;

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// HTTP method.
    pub method: Method,
    /// Path as axum matches it, with its parameters: `/api/v1/teams/{team}`.
    pub path: &'static str,
    /// Who may call it.
    pub need: Need,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everybody.
    Public,
    /// Somebody who is signed in, or who has one of his personal tokens. What is shown is his own.
    Person,
    /// Somebody who is signed in: no token will do.
    Session,
    /// Who may do this to the object that the path names, by a role or by a project token.
    On(Object, Resource, Action),
    /// As `On`; and everybody whom `{user}` names himself.
    OnOrSelf(Object, Resource, Action),
}

/// What a path names, by the parameter of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// `{team}`: an id or a slug.
    Team,
    /// `{project}`.
    Project,
    /// `{environment}`.
    Environment,
    /// `{build}`.
    Build,
    /// `{deployment}`.
    Deployment,
}

impl Object {
    /// The name of its parameter.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Build => "build",
            Self::Deployment => "deployment",
        }
    }
}

const fn route(method: Method, path: &'static str, need: Need) -> Route {
    Route { method, path, need }
}

const fn get(path: &'static str, need: Need) -> Route {
    route(Method::GET, path, need)
}

const fn post(path: &'static str, need: Need) -> Route {
    route(Method::POST, path, need)
}

const fn patch(path: &'static str, need: Need) -> Route {
    route(Method::PATCH, path, need)
}

const fn delete(path: &'static str, need: Need) -> Route {
    route(Method::DELETE, path, need)
}

/// Every route.
pub const ROUTES: &[Route] = &[
    // system
    get("/api/health", Public),
    get("/api/ready", Public),
    get("/metrics", Public),
    get("/openapi.json", Public),
    // auth
    get("/api/v1/auth/providers", Public),
    post("/api/v1/auth/setup", Public),
    post("/api/v1/auth/register", Public),
    post("/api/v1/auth/login", Public),
    post("/api/v1/auth/logout", Session),
    post("/api/v1/auth/password", Session),
    get("/api/v1/auth/sessions", Session),
    delete("/api/v1/auth/sessions", Session),
    delete("/api/v1/auth/sessions/{session}", Session),
    // me
    get("/api/v1/me", Person),
    patch("/api/v1/me", Person),
    get("/api/v1/me/tokens", Person),
    post("/api/v1/me/tokens", Session),
    delete("/api/v1/me/tokens/{token}", Person),
    // teams
    get("/api/v1/teams", Person),
    post("/api/v1/teams", Person),
    get("/api/v1/teams/{team}", On(Team, Resource::Team, Action::Read)),
    patch("/api/v1/teams/{team}", On(Team, Resource::Team, Action::Update)),
    delete("/api/v1/teams/{team}", On(Team, Resource::Team, Action::Delete)),
    get("/api/v1/teams/{team}/members", On(Team, Resource::TeamMembers, Action::Read)),
    patch("/api/v1/teams/{team}/members/{user}", On(Team, Resource::TeamMembers, Action::Update)),
    delete("/api/v1/teams/{team}/members/{user}", OnOrSelf(Team, Resource::TeamMembers, Action::Delete)),
    get("/api/v1/teams/{team}/invites", On(Team, Resource::TeamInvites, Action::Read)),
    post("/api/v1/teams/{team}/invites", On(Team, Resource::TeamInvites, Action::Create)),
    delete("/api/v1/teams/{team}/invites/{invite}", On(Team, Resource::TeamInvites, Action::Delete)),
    post("/api/v1/invites/accept", Person),
];

/// The route of a request. HEAD is asked as GET is.
pub(crate) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    ROUTES.iter().find(|route| route.method == *method && route.path == path)
}
