//! What the stock `mastra` command line asks for.

use domain::policy::Action::{Create, Execute, Read, Update};
use domain::policy::Resource as On;

use super::{Route, delete, get, post, put};
use crate::cli::{account, deploys, env_vars, environments as envs, logs, projects};
use crate::environments;
use crate::gate::Needs::{Build, Credential, Environment, NamedTeam, Project};

pub(super) fn cli_routes() -> Vec<Route> {
    [project_routes(), environment_routes(), deploy_routes()].into_iter().flatten().collect()
}

fn project_routes() -> Vec<Route> {
    let projects_of = "Projects of the team that `x-organization-id` names";
    let make_project = "Makes a project whose code is uploaded, in the team that `x-organization-id` names";
    vec![
        get("/v1/auth/verify", Credential, "Whether a credential works", account::verify),
        get("/v1/auth/orgs", Credential, "The teams of who asks", account::organizations)
            .gives::<account::Organizations>(),
        get("/v1/projects", Credential, projects_of, projects::list)
            .gives::<projects::Projects>()
            .also(&[404]),
        get("/v1/server/projects", Credential, projects_of, projects::list)
            .gives::<projects::Projects>()
            .also(&[404]),
        get("/v1/studio/projects", Credential, projects_of, projects::list)
            .gives::<projects::Projects>()
            .also(&[404]),
        post("/v1/studio/projects", NamedTeam(On::Project, Create), make_project, projects::create)
            .gives::<projects::Made>()
            .status(201),
        post("/v1/server/projects", NamedTeam(On::Project, Create), make_project, projects::create)
            .gives::<projects::Made>()
            .status(201),
        get(
            "/v1/server/projects/{project}/databases",
            Project(On::Project, Read),
            "Databases of a project: none, for this platform hands out none",
            projects::databases,
        ),
        get(
            "/v1/server/projects/{project}/env",
            Project(On::ProjectEnvVars, Read),
            "Variables of a project, with values that are not sensitive",
            env_vars::list,
        )
        .gives::<env_vars::EnvVars>(),
        put(
            "/v1/server/projects/{project}/env",
            Project(On::ProjectEnvVars, Update),
            "Sets the variables of a project that are not sensitive",
            env_vars::replace,
        ),
    ]
}

fn environment_routes() -> Vec<Route> {
    vec![
        get(
            "/v1/projects/{project}/environments",
            Project(On::Project, Read),
            "Environments of a project",
            envs::list,
        )
        .gives::<envs::Environments>(),
        post(
            "/v1/projects/{project}/environments",
            Project(On::Project, Update),
            "Makes an environment",
            envs::create,
        )
        .gives::<envs::Made>()
        .status(201),
        delete(
            "/v1/projects/{project}/environments/{environment}",
            Environment(On::Project, Update),
            "Ends an environment",
            environments::delete,
        ),
        post(
            "/v1/projects/{project}/environments/{environment}/restart",
            Environment(On::Build, Execute),
            "Deploys anew what serves, with the variables as they are now",
            envs::restart,
        )
        .status(202),
    ]
}

fn deploy_routes() -> Vec<Route> {
    vec![
        get(
            "/v1/projects/{project}/environment-deploys",
            Project(On::Build, Read),
            "Deploys of a project",
            deploys::list,
        )
        .gives::<deploys::Deploys>(),
        post(
            "/v1/projects/{project}/environments/{environment}/deploy",
            Environment(On::Build, Create),
            "Begins a deploy, whose code is then uploaded",
            deploys::create,
        )
        .gives::<deploys::Created>()
        .status(201),
        post(
            "/v1/projects/{project}/environments/{environment}/deploys/{deploy}/upload-complete",
            Environment(On::Build, Create),
            "Has what was uploaded built and deployed",
            deploys::upload_complete,
        )
        .gives::<deploys::Shown>()
        .also(&[410])
        .status(202),
        get(
            "/v1/projects/{project}/environments/{environment}/deploys/{build}",
            Build(On::Build, Read),
            "One deploy",
            deploys::show,
        )
        .gives::<deploys::Shown>(),
        get(
            "/v1/projects/{project}/environments/{environment}/deploys/{build}/logs/stream",
            Build(On::Logs, Read),
            "Output of a deploy, live",
            logs::stream,
        )
        .answers(&["text/event-stream"]),
        get(
            "/v1/projects/{project}/environments/{environment}/deploys/{build}/diagnosis",
            Build(On::Build, Read),
            "Why a deploy failed",
            deploys::diagnosis,
        )
        .gives::<deploys::Diagnosed>()
        .also(&[204]),
    ]
}
