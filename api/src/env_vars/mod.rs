//! `GET /projects/{project}/env-vars`, `PUT/DELETE …/{KEY}`, `GET …/history`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::{EnvironmentId, SecretId};
use domain::project::{Availability, ProjectCommand};
use domain::sealed::{KeyOwner, purpose};
use domain::values::EnvKey;
use http::StatusCode;
use projections::env_vars::EnvVarRow;
use projections::projects::ProjectRow;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Body, Params, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, list as cut};

/// The largest value, in bytes: sealed and in base64 it still fits into one event.
const MAX_VALUE: usize = 32 * 1024;

/// A value for a variable.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SetEnvVar {
    value: String,
    #[serde(default)]
    sensitive: bool,
    /// The one environment it is for; all when absent.
    #[schema(value_type = Option<String>)]
    environment: Option<EnvironmentId>,
    /// `runtime` (default), `build` or `both`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    availability: Availability,
}

/// Which variables.
#[derive(Deserialize)]
pub(crate) struct Which {
    environment: Option<EnvironmentId>,
    #[serde(default)]
    reveal: bool,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    if which.reveal {
        // A reveal is recorded before it is answered; that record does not exist yet.
        return Err(ApiError::forbidden("Values cannot be revealed: set them anew instead."));
    }
    let rows = projections::env_vars::of_project(&platform.pool, project.it.id).await?;
    let holds = |row: &&EnvVarRow| {
        which.environment.is_none() || row.environment_id.is_none() || row.environment_id == which.environment
    };
    Ok(items(rows.iter().filter(holds).map(view).collect(), None))
}

pub(crate) async fn set(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
    Body(body): Body<SetEnvVar>,
) -> Result<Done, ApiError> {
    let key = key(&params)?;
    if body.value.len() > MAX_VALUE {
        return Err(ApiError::field("value", "too_large", "must have at most 32 KiB"));
    }
    if body.value.contains('\0') {
        return Err(ApiError::field(
            "value",
            "invalid",
            "must not contain U+0000, which no process can be given",
        ));
    }
    let (id, context) = (project.it.id, project.context());
    let purpose = purpose::env_var(body.environment, &key);
    let sealing: SecretId = platform.new_id();
    let vault = platform.commands.vault();
    let value =
        vault.seal(KeyOwner::Project(id), &purpose, sealing, body.value.as_bytes(), context.at).await?;
    let command = ProjectCommand::SetEnvVar {
        key: key.clone(),
        environment_id: body.environment,
        value,
        sensitive: body.sensitive,
        availability: body.availability,
    };
    let receipt = platform.commands.project(id, command, &context).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let rows = projections::env_vars::of_project(&platform.pool, id).await?;
        let row = rows.iter().find(|row| row.key == key && row.environment_id == body.environment);
        Ok(view(row.ok_or_else(ApiError::not_found)?))
    })
    .await
}

pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
    Query(which): Query<Which>,
) -> Result<Done, ApiError> {
    let key = key(&params)?;
    let command = ProjectCommand::DeleteEnvVar { key: key.clone(), environment_id: which.environment };
    let receipt = platform.commands.project(project.it.id, command, &project.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "key": key, "deleted": true }))).await
}

pub(crate) async fn history(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let (limit, before) = (page.limit()?, page.cursor()?.unwrap_or(i64::MAX));
    let changes = projections::env_vars::history(&platform.pool, project.it.id, before, limit + 1).await?;
    let (changes, next) = cut(changes, limit, |change| change.position.to_string());
    let views = changes.iter().map(|change| {
        json!({
            "position": change.position,
            "key": change.key,
            "environment": change.environment_id,
            "action": change.act,
            "fingerprint": change.mark,
            "actor": change.actor,
            "at": change.at,
        })
    });
    Ok(items(views.collect(), next))
}

fn key(params: &Params) -> Result<EnvKey, ApiError> {
    params
        .text("key")
        .parse()
        .map_err(|error: domain::values::InvalidValue| ApiError::field("key", "invalid", error.to_string()))
}

/// A variable without its value.
fn view(row: &EnvVarRow) -> Value {
    json!({
        "key": row.key,
        "environment": row.environment_id,
        "sensitive": row.sensitive,
        "availability": row.availability,
        "fingerprint": row.value.mark,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
    })
}
