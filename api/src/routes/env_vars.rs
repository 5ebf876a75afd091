//! The part of the table that is about environment variables.

use domain::policy::Action::{Delete, Read, Update};
use domain::policy::Resource as On;

use super::{Route, delete, get, post, put};
use crate::env_vars;
use crate::gate::Needs::{Deployment, Environment, Project};

pub(super) fn env_var_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/projects/{project}/env-vars",
            Project(On::ProjectEnvVars, Read),
            "Environment variables, without their values",
            env_vars::list,
        )
        .lists::<env_vars::View>()
        .knows_past(&[]),
        put(
            "/api/v1/projects/{project}/env-vars/{key}",
            Project(On::ProjectEnvVars, Update),
            "Sets a variable",
            env_vars::set,
        )
        .gives::<env_vars::View>(),
        delete(
            "/api/v1/projects/{project}/env-vars/{key}",
            Project(On::ProjectEnvVars, Delete),
            "Deletes a variable",
            env_vars::delete,
        ),
        get(
            "/api/v1/projects/{project}/env-vars/history",
            Project(On::ProjectEnvVars, Read),
            "How the variables changed",
            env_vars::history,
        )
        .lists::<env_vars::ChangeView>()
        .knows_past(&[]),
        post(
            "/api/v1/projects/{project}/env-vars/import",
            Project(On::ProjectEnvVars, Update),
            "Sets the variables of a .env file, all or none",
            env_vars::import,
        )
        .gives::<env_vars::Counts>(),
        get(
            "/api/v1/projects/{project}/env-vars/export",
            Project(On::ProjectEnvVars, Read),
            "Variables with their values, as a .env file",
            env_vars::export,
        )
        .answers(&["text/plain"]),
        post(
            "/api/v1/environments/{environment}/env-vars/promote",
            Environment(On::ProjectEnvVars, Update),
            "Takes over variables of another environment",
            env_vars::promote,
        )
        .gives::<env_vars::Counts>(),
        get(
            "/api/v1/environments/{environment}/env-vars/pending",
            Environment(On::ProjectEnvVars, Read),
            "What a new deployment would have otherwise than the one that runs",
            env_vars::pending,
        )
        .gives::<env_vars::Pending>(),
        get(
            "/api/v1/deployments/{deployment}/env-vars",
            Deployment(On::ProjectEnvVars, Read),
            "The variables that a deployment was made with",
            env_vars::of_deployment,
        )
        .lists::<env_vars::Deployed>(),
    ]
}
