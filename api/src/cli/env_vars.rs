//! Variables as the command line takes them and brings them: `GET/PUT /v1/server/projects/{project}/env`, those of an
//! environment beside the environment, and those of a deploy beside the deploy.
//!
//! Values that people may no longer see are told to no command line; whatever is told is recorded as a reveal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::EnvironmentId;
use domain::policy::{self, Action, Resource};
use domain::project::ProjectCommand;
use domain::sealed::purpose;
use domain::values::{EnvKey, InvalidValue, Standing};
use http::StatusCode;
use projections::env_vars::EnvVarRow;
use projections::projects::{EnvironmentRow, ProjectRow};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::body::Body;
use crate::env_vars::{How, must_reach, put, readable, unfit};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

/// Values by names.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CliEnvVars)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvVars {
    env_vars: BTreeMap<String, String>,
}

/// Values that may be shown, and names of all others.
pub(super) type Known = (BTreeMap<String, String>, Vec<String>);

/// The variables of the whole project.
pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
) -> Result<Json<EnvVars>, ApiError> {
    let rows = projections::env_vars::of_project(&platform.pool, project.it.id).await?;
    let may_read = readable(&platform, &project).await?;
    let told = |row: &&EnvVarRow| row.environment_id.is_none() && !row.sensitive && may_read(None);
    let rows: Vec<&EnvVarRow> = rows.iter().filter(told).collect();
    let env_vars = reveal(&platform, &project, &rows).await?.into_iter();
    Ok(Json(EnvVars { env_vars: env_vars.map(|(row, value)| (row.key.to_string(), value)).collect() }))
}

/// Sets those of the whole project, and deletes what is not among them any more. What was not told stays: who sends
/// the list back does not know of it.
pub(crate) async fn replace(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(EnvVars { env_vars }): Body<EnvVars>,
) -> Result<Done, ApiError> {
    must_reach(&platform, &project, Action::Update, None).await?;
    let (entries, reserved) = read(env_vars)?;
    if let Some((key, why)) = reserved.first() {
        return Err(ApiError::field(format!("envVars.{key}"), "reserved", *why));
    }
    let id = project.it.id;
    let rows = projections::env_vars::of_project(&platform.pool, id).await?;
    let is_gone =
        |row: &&EnvVarRow| row.environment_id.is_none() && !row.sensitive && !entries.contains_key(&row.key);
    let gone: Vec<EnvKey> = rows.iter().filter(is_gone).map(|row| row.key.clone()).collect();
    if !gone.is_empty() {
        must_reach(&platform, &project, Action::Delete, None).await?;
    }
    let step = |n| project.caller().step(Some(project.team_id), n);
    let mut done = put(&platform, (id, None), (&entries, &How::default()), &step(0)).await?;
    for (n, key) in gone.into_iter().enumerate() {
        let command = ProjectCommand::DeleteEnvVar { key, environment_id: None };
        let receipt = platform.commands.project(id, command, &step(n + 1)).await?;
        done = Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "updated": true }))).await?;
    }
    Ok(done)
}

/// What may be known of the variables of each environment.
pub(super) async fn of_environments(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    environments: &[EnvironmentRow],
) -> Result<HashMap<EnvironmentId, Known>, ApiError> {
    let rows = projections::env_vars::of_project(&platform.pool, project.it.id).await?;
    let may_read = readable(platform, project).await?;
    let is_told =
        |row: &&EnvVarRow| row.environment_id.is_some_and(|id| !row.sensitive && may_read(Some(id)));
    let told: Vec<&EnvVarRow> = rows.iter().filter(is_told).collect();
    let mut known: HashMap<EnvironmentId, Known> = HashMap::new();
    for (row, value) in reveal(platform, project, &told).await? {
        let Some(id) = row.environment_id else { continue };
        known.entry(id).or_default().0.insert(row.key.to_string(), value);
    }
    for environment in environments {
        let id = environment.environment.id;
        let (values, names) = known.entry(id).or_default();
        let here =
            rows.iter().filter(|row| row.environment_id.is_none_or(|of| of == id) && may_read(Some(id)));
        let others: BTreeSet<String> =
            here.map(|row| row.key.to_string()).filter(|key| !values.contains_key(key)).collect();
        names.extend(others);
    }
    Ok(known)
}

/// The values of these, after it was recorded that the caller sees them.
async fn reveal<'a>(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    rows: &[&'a EnvVarRow],
) -> Result<Vec<(&'a EnvVarRow, String)>, ApiError> {
    if rows.is_empty() {
        return Ok(vec![]);
    }
    let keys: BTreeSet<EnvKey> = rows.iter().map(|row| row.key.clone()).collect();
    let command = ProjectCommand::RevealEnvVars { keys: keys.into_iter().collect() };
    platform.commands.project(project.it.id, command, &project.context()).await?;
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let purpose = purpose::env_var(row.environment_id, &row.key);
        values.push((*row, platform.commands.vault().open_text(&row.value, &purpose).await?));
    }
    Ok(values)
}

/// Sets what came with a deploy, in its environment. Names that are the platform's own are passed over: a `.env` file
/// of a developer has them, and a server gets its own.
pub(super) async fn set_with_deploy(
    platform: &Platform,
    environment: &Scoped<EnvironmentRow>,
    given: BTreeMap<String, String>,
) -> Result<(), ApiError> {
    let (entries, _reserved) = read(given)?;
    if entries.is_empty() {
        return Ok(());
    }
    let (id, place) = (environment.it.project_id, environment.it.environment.id);
    let context = policy::Context {
        environment: Some(place),
        ..environment.caller().context_of(environment.team_id, Some(id))
    };
    let grants = environment.caller().grants(platform).await?;
    if !policy::allows(&grants, Resource::ProjectEnvVars, Action::Update, &context) {
        let text =
            "Variables come with this deploy, and to set them needs the right to update project.env_vars.";
        return Err(ApiError::forbidden(text));
    }
    put(platform, (id, Some(place)), (&entries, &How::default()), &environment.context()).await.map(drop)
}

type Read = (BTreeMap<EnvKey, String>, Vec<(EnvKey, &'static str)>);

/// The variables, and those whose names are the platform's own, with the reason.
fn read(given: BTreeMap<String, String>) -> Result<Read, ApiError> {
    let (mut entries, mut reserved) = (BTreeMap::new(), vec![]);
    for (name, value) in given {
        let field = format!("envVars.{name}");
        let key: EnvKey = name
            .parse()
            .map_err(|error: InvalidValue| ApiError::field(&field, "invalid", error.to_string()))?;
        if let Some((code, message)) = unfit(&value) {
            return Err(ApiError::field(field, code, message));
        }
        match key.standing() {
            Standing::Never(why) => reserved.push((key, why)),
            Standing::NotAtBuild(_) | Standing::Allowed => drop(entries.insert(key, value)),
        }
    }
    Ok((entries, reserved))
}
