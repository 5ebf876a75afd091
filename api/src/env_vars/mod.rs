//! `GET /projects/{project}/env-vars`, `PUT/DELETE …/{KEY}`, `GET …/history`; several at once; what runs of them.

mod export;
mod import;
mod many;
mod pending;
mod promote;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::CommandError;
use domain::ids::{EnvironmentId, SecretId};
use domain::policy::{self, Action, Context, Resource};
use domain::project::{Availability, ProjectCommand};
use domain::sealed::{KeyOwner, purpose};
use domain::values::EnvKey;
use http::StatusCode;
use projections::env_vars::EnvVarRow;
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{Body, Params, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, list as cut, versioned};
use crate::shape;

pub(crate) use export::handler as export;
pub(crate) use import::{How, handler as import, put};
pub(crate) use many::Counts;
pub(crate) use pending::{Deployed, Pending, missing, missing_in, of_deployment, pending};
pub(crate) use promote::handler as promote;

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
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    /// `runtime` (default), `build` or `both`.
    #[serde(default)]
    #[schema(value_type = Option<shape::Availability>)]
    availability: Availability,
}

/// Which variables.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Which {
    #[param(value_type = Option<uuid::Uuid>)]
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
    let may_read = readable(&platform, &project).await?;
    rows.retain(|row| may_read(row.environment_id));
    Ok(versioned(items(rows.iter().map(view).collect(), None), project.it.version))
}

/// The list with its values.
async fn reveal(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    rows: &[EnvVarRow],
) -> Result<Json<Value>, ApiError> {
    record_reveal(platform, project, rows).await?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        let purpose = purpose::env_var(row.environment_id, &row.key);
        let mut view = view(row);
        view["value"] = platform.commands.vault().open_text(&row.value, &purpose).await?.into();
        views.push(view);
    }
    Ok(items(views, None))
}

/// Records that the caller sees these values. Sensitive ones only for who may manage variables.
async fn record_reveal(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    rows: &[EnvVarRow],
) -> Result<(), ApiError> {
    let id = project.it.id;
    let is_sensitive = is_any_sensitive(platform, project, rows).await?;
    let manages = project.may(platform, Some(id), Resource::ProjectEnvVars, Action::Manage).await?;
    if !manages && is_sensitive {
        return Err(ApiError::forbidden(
            "Sensitive values are write-only: this needs the right to manage project.env_vars.",
        ));
    }
    // A right with a condition is asked about the environments that the values are of.
    let places: BTreeSet<Option<EnvironmentId>> = rows.iter().map(|row| row.environment_id).collect();
    for place in places {
        must_reach(platform, project, Action::Read, place).await?;
        if is_sensitive {
            must_reach(platform, project, Action::Manage, place).await?;
        }
    }
    let keys: BTreeSet<EnvKey> = rows.iter().map(|row| row.key.clone()).collect();
    let command = ProjectCommand::RevealEnvVars { keys: keys.into_iter().collect() };
    let revealed = platform.commands.project(id, command, &project.context()).await;
    if let Err(CommandError::Store(error)) = &revealed {
        return Err(ApiError::unrecorded(error));
    }
    revealed?;
    Ok(())
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
    if let Some((code, message)) = unfit(&body.value) {
        return Err(ApiError::field("value", code, message));
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
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let (limit, before) = (page.limit()?, page.cursor()?.unwrap_or(i64::MAX));
    let changes = projections::env_vars::history(project.view(), project.it.id, before, limit + 1).await?;
    let (changes, next) = cut(changes, limit, |change| change.position.to_string());
    let may_read = readable(&platform, &project).await?;
    let changes = changes.iter().filter(|change| may_read(change.environment_id));
    let views = changes.map(|change| {
        json!(ChangeView {
            position: change.position,
            key: &change.key,
            environment: change.environment_id,
            action: &change.act,
            fingerprint: change.mark.as_deref(),
            actor: &change.actor,
            at: change.at,
        })
    });
    Ok(items(views.collect(), next))
}

/// Tells of an environment whether the caller may read its variables; of none, whether he may in every one. A right with
/// a condition is asked about each.
pub(crate) async fn readable(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
) -> Result<impl Fn(Option<EnvironmentId>) -> bool, ApiError> {
    let grants = project.caller().grants(platform).await?;
    let here = project.caller().context_of(project.it.team_id, Some(project.it.id));
    let all = projections::projects::environments(&platform.pool, project.it.id).await?;
    Ok(move |place: Option<EnvironmentId>| {
        let may = |id| {
            let context = Context { environment: Some(id), ..here.clone() };
            policy::allows(&grants, Resource::ProjectEnvVars, Action::Read, &context)
        };
        place.map_or_else(|| all.iter().all(|row| may(row.environment.id)), may)
    })
}

/// Why no process can have this value: a code and a sentence.
pub(crate) fn unfit(value: &str) -> Option<(&'static str, &'static str)> {
    if value.len() > MAX_VALUE {
        return Some(("too_large", "must have at most 32 KiB"));
    }
    value.contains('\0').then_some(("invalid", "must not contain U+0000, which no process can be given"))
}

/// Refuses who may change variables, but not those of this environment; without one, not those of every environment.
pub(crate) async fn must_reach(
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

/// A variable as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EnvVar)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = String)]
    key: &'a EnvKey,
    /// The one it is for; all when null.
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    sensitive: bool,
    #[schema(value_type = shape::Availability)]
    availability: Availability,
    /// Equal for equal values of this project.
    fingerprint: &'a str,
    /// Only where it was to be revealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A change of a variable as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EnvVarChange)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeView<'a> {
    position: i64,
    #[schema(value_type = String)]
    key: &'a EnvKey,
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    /// `set` or `deleted`.
    action: &'a str,
    fingerprint: Option<&'a str>,
    actor: &'a str,
    at: DateTime<Utc>,
}

/// A variable without its value.
pub(crate) fn view(row: &EnvVarRow) -> Value {
    json!(view_of(row))
}

fn view_of(row: &EnvVarRow) -> View<'_> {
    View {
        key: &row.key,
        environment: row.environment_id,
        sensitive: row.sensitive,
        availability: row.availability,
        fingerprint: &row.value.mark,
        value: None,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}
