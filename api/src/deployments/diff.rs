//! What a rollback or a promotion would change. Its dry run shows it, before anything happens.

use std::collections::{BTreeMap, BTreeSet};

use domain::deployment::DeploymentCommand;
use domain::fact::StoredEvent;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId};
use domain::project::{EnvVar, Project, ProjectSettings};
use domain::values::EnvKey;
use projections::deployments::DeploymentRow;
use projections::log;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::platform::Platform;

/// What would run otherwise than what runs now. Without a deployment that runs, `before` is null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Diff {
    /// The one that runs, and the one whose artifact would run.
    deployment: Change<DeploymentId>,
    build: Change<BuildId>,
    commit: Change<String>,
    branch: Change<String>,
    /// SHA-256.
    artifact: Change<String>,
    node_version: Change<String>,
    /// Settings of the project that were others when the present server started. They are never gone back with.
    settings: Vec<Setting>,
    env_vars: Vec<Variable>,
}

#[derive(Serialize)]
struct Change<T> {
    before: Option<T>,
    after: Option<T>,
}

#[derive(Serialize)]
struct Setting {
    field: String,
    before: Value,
    after: Value,
}

/// A variable that would be another; never its value.
#[derive(Debug, PartialEq, Serialize)]
struct Variable {
    key: EnvKey,
    /// `added`, `changed` or `removed`.
    change: &'static str,
    before: Option<Given>,
    after: Option<Given>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Given {
    environment: Option<EnvironmentId>,
    sensitive: bool,
    fingerprint: String,
}

/// Compares what runs in the environment of a request for a deployment with what it asks for; `of` is the deployment
/// whose artifact it is.
pub(super) async fn diff(
    platform: &Platform,
    command: &DeploymentCommand,
    of: Option<DeploymentId>,
) -> Result<Value, ApiError> {
    let DeploymentCommand::RequestDeployment {
        project_id,
        environment_id,
        build_id,
        artifact,
        node_version,
        env_vars,
        ..
    } = command
    else {
        return Ok(Value::Null);
    };
    let present = projections::deployments::running_in(&platform.pool, *environment_id).await?;
    let present = present.as_ref();
    let source = async |id| -> Result<(Option<String>, Option<String>), ApiError> {
        let build = projections::builds::find(&platform.pool, id).await?;
        Ok(build.map_or((None, None), |build| (build.commit, Some(build.branch))))
    };
    let after = source(*build_id).await?;
    let before = match present {
        Some(row) => source(row.build_id).await?,
        None => (None, None),
    };
    let given = present.map_or(&[][..], |row| &row.env_vars);
    Ok(json!(Diff {
        deployment: Change { before: present.map(|row| row.id), after: of },
        build: Change { before: present.map(|row| row.build_id), after: Some(*build_id) },
        commit: Change { before: before.0, after: after.0 },
        branch: Change { before: before.1, after: after.1 },
        artifact: Change {
            before: present.map(|row| row.artifact.sha256.clone()),
            after: Some(artifact.sha256.clone()),
        },
        node_version: Change {
            before: present.map(|row| row.node_version.clone()),
            after: Some(node_version.clone()),
        },
        settings: settings(platform, *project_id, present).await?,
        env_vars: variables(given, env_vars),
    }))
}

/// The project as it was after a position of the log.
pub(super) async fn project_at(
    platform: &Platform,
    id: ProjectId,
    position: i64,
) -> Result<Project, ApiError> {
    let events = log::read_stream(&platform.pool, "project", &id.to_string()).await?;
    let mut project = Project::default();
    for event in events.iter().filter(|event: &&StoredEvent| event.position <= position) {
        for event in event.events::<Project>().map_err(|error| ApiError::internal(&error))? {
            cqrs_es::Aggregate::apply(&mut project, event);
        }
    }
    Ok(project)
}

/// What the server was started with, against what a new one would be.
async fn settings(
    platform: &Platform,
    id: ProjectId,
    present: Option<&DeploymentRow>,
) -> Result<Vec<Setting>, ApiError> {
    let Some(present) = present else { return Ok(vec![]) };
    let stream = ("deployment", &*present.id.to_string());
    let start = log::last_of(&platform.pool, stream, &["deployment.starting"], None, i64::MAX).await?;
    let Some(start) = start else { return Ok(vec![]) };
    let then = project_at(platform, id, start.position).await?;
    let now = platform.commands.load::<Project>(id).await?.aggregate;
    let told = |project: &Project| project.living().map(|(_, settings)| at_run_time(settings));
    let (Some(then), Some(now)) = (told(&then), told(&now)) else { return Ok(vec![]) };
    let differing = then.into_iter().zip(now).filter(|(then, now)| then != now);
    Ok(differing
        .map(|((field, before), (_, after))| Setting { field: field.to_owned(), before, after })
        .collect())
}

/// The settings that a server is started by.
fn at_run_time(settings: &ProjectSettings) -> [(&'static str, Value); 4] {
    [
        ("port", json!(settings.port)),
        ("minScale", json!(settings.min_scale)),
        ("health", json!(settings.health)),
        ("resources.runner", json!(settings.resources.runner)),
    ]
}

/// What is found by fingerprints, among those that a server gets.
fn variables(before: &[EnvVar], after: &[EnvVar]) -> Vec<Variable> {
    let by_key = |vars: &[EnvVar]| -> BTreeMap<EnvKey, EnvVar> {
        let given = vars.iter().filter(|var| var.is_at_run_time());
        given.map(|var| (var.key.clone(), var.clone())).collect()
    };
    let (before, after) = (by_key(before), by_key(after));
    let keys: BTreeSet<&EnvKey> = before.keys().chain(after.keys()).collect();
    let shown = |var: &EnvVar| Given {
        environment: var.environment_id,
        sensitive: var.sensitive,
        fingerprint: var.mark.clone(),
    };
    let change = |key: &EnvKey| {
        let (before, after) = (before.get(key), after.get(key));
        let change = match (before, after) {
            (Some(before), Some(after)) if before.mark == after.mark => return None,
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        Some(Variable { key: key.clone(), change, before: before.map(shown), after: after.map(shown) })
    };
    keys.into_iter().filter_map(change).collect()
}
