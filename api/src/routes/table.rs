//! The table itself, a function a group.

use domain::policy::Action::{Create, Delete, Execute, Read, Update};
use domain::policy::Resource as On;

use super::audit::audit_routes;
use super::cli::cli_routes;
use super::endpoints::endpoint_routes;
use super::env_vars::env_var_routes;
use super::github::github_routes;
use super::repository::repository_routes;
use super::roles::role_routes;
use super::sign_in::sign_in_routes;
use super::teams::{invite_routes, team_routes};
use super::telemetry::telemetry_routes;
use super::{Route, delete, get, patch, post, put};
use crate::gate::Needs::{
    AnyProject, Build, Deployment, Environment, Event, Project, Public, SignedIn, Team,
};
use crate::{
    audit, builds, deployments, environments, me, project_tokens, projects, roles, system, teams, tokens,
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
        env_var_routes(),
        run_routes(),
        github_routes(),
        repository_routes(),
        endpoint_routes(),
        audit_routes(),
        cli_routes(),
        telemetry_routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn system_routes() -> Vec<Route> {
    vec![
        get("/api/health", Public, "Whether the server and its database live", system::health),
        get("/api/ready", Public, "Whether query tables and work keep up", system::ready),
        get("/metrics", Public, "Metrics for Prometheus", system::metrics::handler).answers(&["text/plain"]),
        get("/openapi.json", Public, "This document", system::openapi::handler),
        get(
            "/api/v1/audit/checkpoint",
            SignedIn,
            "The newest signed checkpoint of the log",
            audit::ledger::checkpoint,
        )
        .also(&[404]),
        get("/api/v1/audit/key", SignedIn, "The public keys that sign the log", audit::ledger::key)
            .also(&[404]),
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
        get("/api/v1/me", SignedIn, "Who asks", me::show::handler).gives::<me::show::View>(),
        patch("/api/v1/me", SignedIn, "Changes name, picture, and where one looks", me::update::handler)
            .gives::<me::show::View>(),
        delete("/api/v1/me", SignedIn, "Erases who asks, for good", me::erase::handler),
        get("/api/v1/me/tokens", SignedIn, "Personal API tokens", me::tokens::list).lists::<tokens::View>(),
        post("/api/v1/me/tokens", SignedIn, "Makes a personal API token", me::tokens::create)
            .gives::<tokens::NewSecret>()
            .status(201),
        post(
            "/api/v1/me/tokens/{token}/rotate",
            SignedIn,
            "Gives a personal API token another secret",
            me::tokens::rotate,
        )
        .gives::<tokens::NewSecret>(),
        delete("/api/v1/me/tokens/{token}", SignedIn, "Revokes a personal API token", me::tokens::delete),
        get("/api/v1/roles", SignedIn, "The built-in roles", roles::builtin).lists::<roles::Builtin>(),
        post(
            "/api/v1/permissions/check",
            SignedIn,
            "Whether somebody may do something, and why",
            roles::check::handler,
        )
        .also(&[404]),
        post(
            "/api/v1/invites/accept",
            SignedIn,
            "Joins the team of an invite",
            teams::invites::accept::handler,
        )
        .gives::<teams::show::View>()
        .also(&[410]),
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
        .lists::<projects::show::View>()
        .knows_past(&["project"]),
        post(
            "/api/v1/teams/{team}/projects",
            Team(On::Project, Create),
            "Makes a project",
            projects::create::handler,
        )
        .gives::<projects::show::View>()
        .status(201),
        get("/api/v1/projects/{project}", Project(On::Project, Read), "One project", projects::show::handler)
            .gives::<projects::show::View>()
            .knows_past(&[]),
        patch(
            "/api/v1/projects/{project}",
            Project(On::Project, Update),
            "Other settings",
            projects::update::handler,
        )
        .gives::<projects::show::View>(),
        get(
            "/api/v1/projects/{project}/retention",
            Project(On::Project, Read),
            "How long telemetry is kept",
            projects::retention::show,
        )
        .gives::<projects::retention::Retention>(),
        put(
            "/api/v1/projects/{project}/retention",
            Project(On::Project, Update),
            "Keeps telemetry for other days",
            projects::retention::set,
        )
        .gives::<projects::retention::Retention>(),
        get(
            "/api/v1/projects/{project}/telemetry-quota",
            Project(On::Project, Read),
            "How much telemetry is taken in a day",
            projects::telemetry_quota::show,
        )
        .gives::<projects::telemetry_quota::TelemetryQuota>(),
        put(
            "/api/v1/projects/{project}/telemetry-quota",
            Project(On::TeamBilling, Update),
            "Takes in another amount of telemetry a day",
            projects::telemetry_quota::set,
        )
        .gives::<projects::telemetry_quota::TelemetryQuota>(),
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
        ),
        get(
            "/api/v1/projects/{project}/markers",
            Project(On::Project, Read),
            "What to mark on charts: switches, rollbacks, changes of settings and variables",
            projects::markers::handler,
        )
        .lists::<projects::markers::View>(),
        get(
            "/api/v1/projects/{project}/environments",
            Project(On::Project, Read),
            "Environments of a project",
            environments::list,
        )
        .lists::<environments::View>()
        .knows_past(&[]),
        post(
            "/api/v1/projects/{project}/environments",
            Project(On::Project, Update),
            "Makes an environment",
            environments::create,
        )
        .gives::<environments::View>()
        .status(201),
        get(
            "/api/v1/environments/{environment}",
            Environment(On::Project, Read),
            "One environment",
            environments::show,
        )
        .gives::<environments::View>()
        .knows_past(&["build"]),
        patch(
            "/api/v1/environments/{environment}",
            Environment(On::Project, Update),
            "Another name or branch",
            environments::update,
        )
        .gives::<environments::View>(),
        delete(
            "/api/v1/environments/{environment}",
            Environment(On::Project, Update),
            "Ends an environment",
            environments::delete,
        ),
        post(
            "/api/v1/environments/{environment}/approve",
            Environment(On::Project, Update),
            "Allows a commit of a fork to be built for its preview",
            environments::approve,
        )
        .gives::<environments::View>(),
        get(
            "/api/v1/projects/{project}/tokens",
            Project(On::ProjectTokens, Read),
            "API tokens of a project",
            project_tokens::list,
        )
        .lists::<tokens::View>()
        .knows_past(&[]),
        post(
            "/api/v1/projects/{project}/tokens",
            Project(On::ProjectTokens, Create),
            "Makes an API token of a project",
            project_tokens::create,
        )
        .gives::<tokens::NewSecret>()
        .status(201),
        post(
            "/api/v1/projects/{project}/tokens/{token}/rotate",
            Project(On::ProjectTokens, Update),
            "Gives an API token of a project another secret",
            project_tokens::rotate,
        )
        .gives::<tokens::NewSecret>(),
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
        .lists::<builds::View>()
        .knows_past(&["build"]),
        post(
            "/api/v1/projects/{project}/builds",
            Project(On::Build, Create),
            "Asks for a build",
            builds::request,
        )
        .gives::<builds::View>()
        .status(202),
        get("/api/v1/builds/{build}", Build(On::Build, Read), "One build", builds::show)
            .gives::<builds::View>()
            .knows_past(&["project"]),
        post("/api/v1/builds/{build}/cancel", Build(On::Build, Execute), "Ends a build", builds::cancel)
            .gives::<builds::View>(),
        get("/api/v1/builds/{build}/logs", Build(On::Logs, Read), "Output of a build", builds::logs)
            .answers(&["text/plain", "application/x-ndjson"]),
        get(
            "/api/v1/builds/{build}/logs/stream",
            Build(On::Logs, Read),
            "Output of a build, live",
            builds::stream,
        )
        .answers(&["text/event-stream"]),
        get(
            "/api/v1/environments/{environment}/deployments",
            Environment(On::Build, Read),
            "Deployments of an environment",
            deployments::list,
        )
        .lists::<deployments::View>()
        .knows_past(&["deployment"]),
        post(
            "/api/v1/environments/{environment}/deployments",
            Environment(On::Build, Execute),
            "Deploys a build, or what another environment has",
            deployments::promote,
        )
        .gives::<deployments::View>()
        .status(202),
        post(
            "/api/v1/environments/{environment}/rollback",
            Environment(On::Build, Execute),
            "Goes back to an earlier deployment",
            deployments::roll_back,
        )
        .gives::<deployments::View>()
        .status(202),
        get(
            "/api/v1/deployments/{deployment}",
            Deployment(On::Build, Read),
            "One deployment",
            deployments::show,
        )
        .gives::<deployments::View>()
        .knows_past(&[]),
        post(
            "/api/v1/deployments/{deployment}/stop",
            Deployment(On::Build, Execute),
            "Stops a deployment",
            deployments::stop,
        )
        .gives::<deployments::View>(),
        post(
            "/api/v1/deployments/{deployment}/restart",
            Deployment(On::Build, Execute),
            "Runs the same thing anew",
            deployments::restart,
        )
        .gives::<deployments::View>()
        .status(202),
        get(
            "/api/v1/deployments/{deployment}/logs",
            Deployment(On::Logs, Read),
            "Output of a server",
            deployments::logs,
        )
        .answers(&["text/plain", "application/x-ndjson"]),
        get(
            "/api/v1/deployments/{deployment}/logs/stream",
            Deployment(On::Logs, Read),
            "Output of a server, live",
            deployments::stream,
        )
        .answers(&["text/event-stream"]),
        get(
            "/api/v1/deployments/{deployment}/health",
            Deployment(On::Build, Read),
            "Whether a server answers",
            deployments::health,
        ),
    ]
}
