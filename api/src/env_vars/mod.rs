//! `GET /projects/{project}/env-vars`, `PUT/DELETE …/{KEY}`, `GET …/history`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use commands::CommandError;
use domain::ids::{EnvironmentId, SecretId};
use domain::policy::{Action, Context, Resource};
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
use crate::reply::{Done, Page, items, list as cut, versioned};

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
) -> Result<Response, ApiError> {
    let mut rows = projections::env_vars::of_project(project.view(), project.it.id).await?;
    rows.retain(|row| {
        which.environment.is_none() || row.environment_id.is_none() || row.environment_id == which.environment
    });
    if which.reveal {
        return Ok(reveal(&platform, &project, &rows).await?.into_response());
    }
    Ok(versioned(items(rows.iter().map(view).collect(), None), project.it.version))
}

/// The list with its values. Sensitive ones only for who may manage variables; that somebody saw them is recorded
/// first.
async fn reveal(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    rows: &[EnvVarRow],
) -> Result<Json<Value>, ApiError> {
    let id = project.it.id;
    let manages = project.may(platform, Some(id), Resource::ProjectEnvVars, Action::Manage).await?;
    if !manages && is_any_sensitive(platform, project, rows).await? {
        return Err(ApiError::forbidden(
            "Sensitive values are write-only: this needs the right to manage project.env_vars.",
        ));
    }
    let keys: BTreeSet<EnvKey> = rows.iter().map(|row| row.key.clone()).collect();
    let command = ProjectCommand::RevealEnvVars { keys: keys.into_iter().collect() };
    let revealed = platform.commands.project(project.it.id, command, &project.context()).await;
    if let Err(CommandError::Store(error)) = &revealed {
        return Err(ApiError::unrecorded(error));
    }
    revealed?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        let purpose = purpose::env_var(row.environment_id, &row.key);
        let mut view = view(row);
        view["value"] = platform.commands.vault().open_text(&row.value, &purpose).await?.into();
        views.push(view);
    }
    Ok(items(views, None))
}

/// Whether people may no longer see one of these: what has become sensitive since is so in the past, too.
async fn is_any_sensitive(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    rows: &[EnvVarRow],
) -> Result<bool, ApiError> {
    let mut present = vec![];
    if project.view().then().is_some() {
        present = projections::env_vars::of_project(&platform.pool, project.it.id).await?;
    }
    present.retain(|now| rows.iter().any(|row| row.key == now.key));
    Ok(rows.iter().chain(&present).any(|row| row.sensitive))
}

pub(crate) async fn set(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
    Body(body): Body<SetEnvVar>,
) -> Result<Done, ApiError> {
    let key = key(&params)?;
    must_reach(&platform, &project, Action::Update, body.environment).await?;
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
        vault.seal_for(&context, KeyOwner::Project(id), &purpose, sealing, body.value.as_bytes()).await?;
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
    must_reach(&platform, &project, Action::Delete, which.environment).await?;
    let command = ProjectCommand::DeleteEnvVar { key: key.clone(), environment_id: which.environment };
    let receipt = platform.commands.project(project.it.id, command, &project.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "key": key, "deleted": true }))).await
}

pub(crate) async fn history(
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let (limit, before) = (page.limit()?, page.cursor()?.unwrap_or(i64::MAX));
    let changes = projections::env_vars::history(project.view(), project.it.id, before, limit + 1).await?;
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

/// Refuses who may change variables, but not those of this environment; without one, not those of every environment.
async fn must_reach(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    action: Action,
    environment: Option<EnvironmentId>,
) -> Result<(), ApiError> {
    let reached = match environment {
        Some(id) => vec![id],
        None => {
            let all = projections::projects::environments(&platform.pool, project.it.id).await?;
            all.into_iter().map(|row| row.environment.id).collect()
        }
    };
    for id in reached {
        project.must(platform, action, |context| Context { environment: Some(id), ..context }).await?;
    }
    Ok(())
}

fn key(params: &Params) -> Result<EnvKey, ApiError> {
    params
        .text("key")
        .parse()
        .map_err(|error: domain::values::InvalidValue| ApiError::field("key", "invalid", error.to_string()))
}

/// A variable without its value.
pub(crate) fn view(row: &EnvVarRow) -> Value {
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
