//! The table itself, a function a group.

use domain::policy::Action::{Create, Delete, Execute, Read, Update};
use domain::policy::Resource as On;

use super::audit::audit_routes;
use super::roles::role_routes;
use super::sign_in::sign_in_routes;
use super::teams::{invite_routes, team_routes};
use super::{PAGE, Route, delete, get, patch, post, put};
use crate::gate::Needs::{
    AnyProject, Build, Deployment, Environment, Event, Project, Public, SignedIn, Team,
};
use crate::{
    audit, builds, deployments, env_vars, environments, me, project_tokens, projects, roles, system, teams,
    tokens,
};

/// Every route.
pub(crate) fn table() -> Vec<Route> {
    [
        system_routes(),
        sign_in_routes(),
        people_routes(),
        team_routes(),
        role_routes(),
        invite_routes(),
        project_routes(),
        run_routes(),
        audit_routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn system_routes() -> Vec<Route> {
    vec![
        get("/api/health", Public, "Whether the server and its database live", system::health),
        get("/api/ready", Public, "Whether query tables and work keep up", system::ready),
        get("/metrics", Public, "Metrics for Prometheus", system::metrics::handler).answers("text/plain"),
        get("/openapi.json", Public, "This document", system::openapi::handler),
        get(
            "/api/v1/audit/checkpoint",
            SignedIn,
            "The newest signed checkpoint of the log",
            audit::ledger::checkpoint,
        )
        .query(&["from"]),
        get("/api/v1/audit/key", SignedIn, "The public keys that sign the log", audit::ledger::key),
        get(
            "/api/v1/audit/proof/{position}",
            Event(On::Audit, Read),
            "Proof that an event stands in the log",
            audit::ledger::proof,
        ),
    ]
}

fn people_routes() -> Vec<Route> {
    vec![
        get("/api/v1/me", SignedIn, "Who asks", me::show::handler),
        patch("/api/v1/me", SignedIn, "Changes name, picture, and where one looks", me::update::handler)
            .body::<me::update::ChangeMe>(),
        delete("/api/v1/me", SignedIn, "Erases who asks, for good", me::erase::handler)
            .body::<me::erase::EraseMe>(),
        get("/api/v1/me/tokens", SignedIn, "Personal API tokens", me::tokens::list).query(PAGE),
        post("/api/v1/me/tokens", SignedIn, "Makes a personal API token", me::tokens::create)
            .body::<me::tokens::CreateToken>()
            .status(201),
        post(
            "/api/v1/me/tokens/{token}/rotate",
            SignedIn,
            "Gives a personal API token another secret",
            me::tokens::rotate,
        )
        .body::<tokens::RotateToken>(),
        delete("/api/v1/me/tokens/{token}", SignedIn, "Revokes a personal API token", me::tokens::delete),
        get("/api/v1/roles", SignedIn, "The built-in roles", roles::builtin),
        post(
            "/api/v1/permissions/check",
            SignedIn,
            "Whether somebody may do something, and why",
            roles::check::handler,
        )
        .body::<roles::check::Check>(),
        post(
            "/api/v1/invites/accept",
            SignedIn,
            "Joins the team of an invite",
            teams::invites::accept::handler,
        )
        .body::<teams::invites::accept::AcceptInvite>(),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table: one entry a route")]
fn project_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/teams/{team}/projects",
            Team(On::Project, Read),
            "Projects of a team",
            projects::list::handler,
        )
        .query(PAGE)
        .knows_past(&["project"]),
        post(
            "/api/v1/teams/{team}/projects",
            Team(On::Project, Create),
            "Makes a project",
            projects::create::handler,
        )
        .body::<projects::create::CreateProject>()
        .status(201),
        get("/api/v1/projects/{project}", Project(On::Project, Read), "One project", projects::show::handler)
            .knows_past(&[]),
        patch(
            "/api/v1/projects/{project}",
            Project(On::Project, Update),
            "Other settings",
            projects::update::handler,
        )
        .body::<projects::update::ChangeProject>(),
        delete(
            "/api/v1/projects/{project}",
            Project(On::Project, Delete),
            "Ends a project",
            projects::delete::handler,
        ),
        get(
            "/api/v1/projects/{project}/diff",
            AnyProject(On::Project, Read),
            "What changed between two moments",
            projects::diff::handler,
        )
        .query(&["from", "to"]),
        get(
            "/api/v1/projects/{project}/environments",
            Project(On::Project, Read),
            "Environments of a project",
            environments::list,
        )
        .query(PAGE)
        .knows_past(&[]),
        post(
            "/api/v1/projects/{project}/environments",
            Project(On::Project, Update),
            "Makes an environment",
            environments::create,
        )
        .body::<environments::CreateEnvironment>()
        .status(201),
        get(
            "/api/v1/environments/{environment}",
            Environment(On::Project, Read),
            "One environment",
            environments::show,
        )
        .knows_past(&[]),
        patch(
            "/api/v1/environments/{environment}",
            Environment(On::Project, Update),
            "Another name or branch",
            environments::update,
        )
        .body::<environments::ChangeEnvironment>(),
        delete(
            "/api/v1/environments/{environment}",
            Environment(On::Project, Update),
            "Ends an environment",
            environments::delete,
        ),
        get(
            "/api/v1/projects/{project}/env-vars",
            Project(On::ProjectEnvVars, Read),
            "Environment variables, without their values",
            env_vars::list,
        )
        .query(&["environment", "reveal"])
        .knows_past(&[]),
        put(
            "/api/v1/projects/{project}/env-vars/{key}",
            Project(On::ProjectEnvVars, Update),
            "Sets a variable",
            env_vars::set,
        )
        .body::<env_vars::SetEnvVar>(),
        delete(
            "/api/v1/projects/{project}/env-vars/{key}",
            Project(On::ProjectEnvVars, Delete),
            "Deletes a variable",
            env_vars::delete,
        )
        .query(&["environment"]),
        get(
            "/api/v1/projects/{project}/env-vars/history",
            Project(On::ProjectEnvVars, Read),
            "How the variables changed",
            env_vars::history,
        )
        .query(PAGE)
        .knows_past(&[]),
        get(
            "/api/v1/projects/{project}/tokens",
            Project(On::ProjectTokens, Read),
            "API tokens of a project",
            project_tokens::list,
        )
        .query(PAGE)
        .knows_past(&[]),
        post(
            "/api/v1/projects/{project}/tokens",
            Project(On::ProjectTokens, Create),
            "Makes an API token of a project",
            project_tokens::create,
        )
        .body::<project_tokens::CreateToken>()
        .status(201),
        post(
            "/api/v1/projects/{project}/tokens/{token}/rotate",
            Project(On::ProjectTokens, Update),
            "Gives an API token of a project another secret",
            project_tokens::rotate,
        )
        .body::<tokens::RotateToken>(),
        delete(
            "/api/v1/projects/{project}/tokens/{token}",
            Project(On::ProjectTokens, Delete),
            "Revokes an API token of a project",
            project_tokens::delete,
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table: one entry a route")]
fn run_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/projects/{project}/builds",
            Project(On::Build, Read),
            "Builds of a project",
            builds::list,
        )
        .query(PAGE)
        .knows_past(&["build"]),
        post(
            "/api/v1/projects/{project}/builds",
            Project(On::Build, Create),
            "Asks for a build",
            builds::request,
        )
        .body::<builds::RequestBuild>()
        .status(202),
        get("/api/v1/builds/{build}", Build(On::Build, Read), "One build", builds::show).knows_past(&[]),
        post("/api/v1/builds/{build}/cancel", Build(On::Build, Execute), "Ends a build", builds::cancel),
        get("/api/v1/builds/{build}/logs", Build(On::Logs, Read), "Output of a build", builds::logs)
            .answers("text/plain"),
        get(
            "/api/v1/builds/{build}/logs/stream",
            Build(On::Logs, Read),
            "Output of a build, live",
            builds::stream,
        )
        .answers("text/event-stream"),
        get(
            "/api/v1/environments/{environment}/deployments",
            Environment(On::Build, Read),
            "Deployments of an environment",
            deployments::list,
        )
        .query(PAGE)
        .knows_past(&["deployment"]),
        post(
            "/api/v1/environments/{environment}/deployments",
            Environment(On::Build, Execute),
            "Deploys a build",
            deployments::deploy,
        )
        .body::<deployments::Deploy>()
        .status(202),
        post(
            "/api/v1/environments/{environment}/rollback",
            Environment(On::Build, Execute),
            "Goes back to an earlier deployment",
            deployments::roll_back,
        )
        .body::<deployments::RollBack>()
        .status(202),
        get(
            "/api/v1/deployments/{deployment}",
            Deployment(On::Build, Read),
            "One deployment",
            deployments::show,
        )
        .knows_past(&[]),
        post(
            "/api/v1/deployments/{deployment}/stop",
            Deployment(On::Build, Execute),
            "Stops a deployment",
            deployments::stop,
        ),
        post(
            "/api/v1/deployments/{deployment}/restart",
            Deployment(On::Build, Execute),
            "Runs the same thing anew",
            deployments::restart,
        )
        .status(202),
        get(
            "/api/v1/deployments/{deployment}/logs",
            Deployment(On::Logs, Read),
            "Output of a server",
            deployments::logs,
        )
        .answers("text/plain"),
        get(
            "/api/v1/deployments/{deployment}/logs/stream",
            Deployment(On::Logs, Read),
            "Output of a server, live",
            deployments::stream,
        )
        .answers("text/event-stream"),
        get(
            "/api/v1/deployments/{deployment}/health",
            Deployment(On::Build, Read),
            "Whether a server answers",
            deployments::health,
        ),
    ]
}
