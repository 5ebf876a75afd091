//! What runs of the variables: the set of a deployment, what a new one would change, and what the code misses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::{DeploymentId, EnvironmentId, ProjectId};
use domain::project::{Availability, EnvVar};
use domain::values::EnvKey;
use projections::deployments::DeploymentRow;
use projections::env_vars::EnvVarRow;
use projections::past::View;
use projections::projects::EnvironmentRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{items, resource};
use crate::shape;

/// What a new deployment would have otherwise than the one that runs.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PendingEnvVars)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pending<'a> {
    items: Vec<Change<'a>>,
    /// Always null: they are never many.
    next_cursor: Option<String>,
    /// The one that runs; null when none does.
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    /// What the newest code reads and nobody has set for the server.
    missing: Vec<String>,
}

/// A variable that is not as it runs.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PendingEnvVar)]
struct Change<'a> {
    #[schema(value_type = String)]
    key: &'a EnvKey,
    /// `added`, `changed` or `removed`.
    change: &'static str,
    saved: Option<super::View<'a>>,
    running: Option<Running<'a>>,
}

/// A variable as it runs.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RunningEnvVar)]
struct Running<'a> {
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    sensitive: bool,
    fingerprint: &'a str,
}

/// A variable that a deployment was made with.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeployedEnvVar)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployed<'a> {
    #[schema(value_type = String)]
    key: &'a EnvKey,
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    sensitive: bool,
    #[schema(value_type = shape::Availability)]
    availability: Availability,
    fingerprint: &'a str,
    set_at: Option<DateTime<Utc>>,
    set_by: Option<&'a str>,
    /// Its name was forbidden since: a process that starts now does not get it.
    withheld: bool,
}

/// `GET /environments/{environment}/env-vars/pending` — it is found by fingerprints: no value is opened.
pub(crate) async fn pending(environment: Scoped<EnvironmentRow>) -> Result<Json<Value>, ApiError> {
    let (db, id) = (environment.view(), environment.it.environment.id);
    let running = projections::deployments::running_in(db, id).await?;
    let saved = in_force(db, environment.it.project_id, id).await?;
    let saved = saved.into_iter().filter(|(_, row)| is_at_run_time(row)).collect();
    let then = running.as_ref().map_or(&[][..], |row| &row.env_vars);
    let then = then.iter().filter(|var| var.is_at_run_time()).map(|var| (&var.key, var)).collect();
    Ok(Json(json!(Pending {
        items: changes(&saved, &then),
        next_cursor: None,
        deployment_id: running.as_ref().map(|row| row.id),
        missing: missing_in(db, &environment.it).await?,
    })))
}

/// `GET /deployments/{deployment}/env-vars` — the exact set that it was made with, and who had set each of them.
pub(crate) async fn of_deployment(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
) -> Result<Response, ApiError> {
    let row = &deployment.it;
    let ids: Vec<_> = row.env_vars.iter().map(|var| var.value_id).collect();
    let set = projections::env_vars::settings_of(&platform.pool, row.project_id, &ids).await?;
    let set: BTreeMap<_, _> = set.iter().map(|set| (set.id, set)).collect();
    let views = row.env_vars.iter().map(|var| {
        let by = set.get(&var.value_id);
        json!(Deployed {
            key: &var.key,
            environment: var.environment_id,
            sensitive: var.sensitive,
            availability: var.availability,
            fingerprint: &var.mark,
            set_at: by.map(|by| by.at),
            set_by: by.map(|by| by.actor.as_str()),
            withheld: !var.is_at_run_time(),
        })
    });
    let Json(list) = items(views.collect(), None);
    Ok(resource(list, row.version))
}

/// The variables that code reads and that are not set in an environment, but for those that it does not expect from
/// its owner.
pub(crate) async fn missing(
    db: &View,
    (project, environment): (ProjectId, EnvironmentId),
    read: &[String],
) -> Result<Vec<String>, ApiError> {
    let rows = in_force(db, project, environment).await?;
    let set: BTreeSet<&str> =
        rows.iter().filter(|(_, row)| is_at_run_time(row)).map(|(key, _)| key.as_str()).collect();
    let of_owner = |name: &&String| name.parse::<EnvKey>().is_ok_and(|key| !key.is_well_known());
    Ok(read.iter().filter(of_owner).filter(|name| !set.contains(name.as_str())).cloned().collect())
}

/// The same of the newest code that was built for the environment.
pub(crate) async fn missing_in(db: &View, row: &EnvironmentRow) -> Result<Vec<String>, ApiError> {
    let id = row.environment.id;
    let build = projections::builds::newest_ready(db, id).await?;
    let read = build.map(|build| build.env_refs).unwrap_or_default();
    missing(db, (row.project_id, id), &read).await
}

/// The variables that hold in an environment: its own before those of the project, which come first in the list.
async fn in_force(
    db: &View,
    project: ProjectId,
    environment: EnvironmentId,
) -> Result<BTreeMap<EnvKey, EnvVarRow>, ApiError> {
    let rows = projections::env_vars::of_project(db, project).await?;
    let place = projections::projects::find_environment(db, environment).await?;
    let project = projections::projects::find(db, project).await?;
    let has_secrets = match (place, project) {
        (Some(place), Some(project)) => place.environment.has_shared_secrets(&project.settings),
        _ => true,
    };
    let here = |row: &EnvVarRow| match row.environment_id {
        Some(id) => id == environment,
        None => has_secrets || !row.sensitive,
    };
    Ok(rows.into_iter().filter(here).map(|row| (row.key.clone(), row)).collect())
}

fn is_at_run_time(row: &EnvVarRow) -> bool {
    row.availability.at_run_time() && !row.key.is_reserved()
}

fn changes<'a>(
    saved: &'a BTreeMap<EnvKey, EnvVarRow>,
    running: &BTreeMap<&'a EnvKey, &'a EnvVar>,
) -> Vec<Change<'a>> {
    let keys: BTreeSet<&'a EnvKey> = saved.keys().chain(running.keys().copied()).collect();
    let change = |key: &'a EnvKey| {
        let (now, then) = (saved.get(key), running.get(key).copied());
        let change = match (now, then) {
            (Some(now), Some(then)) if now.value.mark == then.mark => return None,
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "added",
            (None, _) => "removed",
        };
        let running = |then: &'a EnvVar| Running {
            environment: then.environment_id,
            sensitive: then.sensitive,
            fingerprint: &then.mark,
        };
        Some(Change { key, change, saved: now.map(super::view_of), running: then.map(running) })
    };
    keys.into_iter().filter_map(change).collect()
}
