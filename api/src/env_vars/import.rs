//! `POST /projects/{project}/env-vars/import` — variables of a `.env` file, all or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use commands::Context;
use domain::dotenv::{self, Entry};
use domain::ids::{EnvironmentId, ProjectId};
use domain::policy::Action;
use domain::project::{Availability, Project};
use domain::values::{EnvKey, Standing};
use projections::projects::ProjectRow;
use serde::Deserialize;

use super::{many, must_reach, unfit};
use crate::body::{Query, Text};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

/// For which environment, and how. What is absent stays as it is with a variable that is set already; a new one is
/// not sensitive and for the running server.
#[derive(Default, Deserialize, utoipa::IntoParams)]
pub(crate) struct How {
    #[param(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    sensitive: Option<bool>,
    /// `runtime`, `build` or `both`.
    #[param(value_type = Option<String>)]
    availability: Option<Availability>,
    /// Whether variables of the same place that the file has not are deleted.
    #[serde(default)]
    replace: bool,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(how): Query<How>,
    Text(file): Text,
) -> Result<Done, ApiError> {
    must_reach(&platform, &project, Action::Update, how.environment).await?;
    if how.replace {
        must_reach(&platform, &project, Action::Delete, how.environment).await?;
    }
    let entries = read(&file, &how)?;
    put(&platform, (project.it.id, how.environment), (&entries, &how), &project.context()).await
}

/// Sets variables of a place, all or none.
pub(crate) async fn put(
    platform: &Platform,
    (id, environment): (ProjectId, Option<EnvironmentId>),
    (entries, how): (&BTreeMap<EnvKey, String>, &How),
    context: &Context,
) -> Result<Done, ApiError> {
    for left in (0..many::TRIES).rev() {
        let known = platform.commands.load::<Project>(id).await?;
        let mut vars = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let old = known.aggregate.env_var(key, environment);
            let plain = many::Plain {
                key: key.clone(),
                value: value.as_bytes(),
                sensitive: how.sensitive.unwrap_or_else(|| old.is_some_and(|old| old.sensitive)),
                availability: how.availability.or(old.map(|old| old.availability)).unwrap_or_default(),
            };
            vars.push(many::seal(platform, (id, environment), plain, context).await?);
        }
        let place = (environment, how.replace);
        if let Some(done) = many::set(platform, (id, known), place, vars, context, left).await? {
            return Ok(done);
        }
    }
    Err(ApiError::unavailable())
}

/// The variables of the file; of those with the same name the last one, as `dotenv` has it.
fn read(file: &str, how: &How) -> Result<BTreeMap<EnvKey, String>, ApiError> {
    let mut faults = vec![];
    let mut entries = BTreeMap::new();
    match dotenv::read(file) {
        Err(bad) => faults.extend(bad.into_iter().map(|fault| (fault.line, fault.key, "syntax", fault.why))),
        Ok(read) => {
            for Entry { line, key, value } in read {
                match refusal(&key, &value, how) {
                    Some((code, why)) => faults.push((line, Some(key), code, why)),
                    None => drop(entries.insert(key, value)),
                }
            }
        }
    }
    if faults.is_empty() {
        return Ok(entries);
    }
    let text = "The file has lines that are not accepted: nothing of it was set.";
    let refused = ApiError::new(http::StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", text);
    Err(faults.into_iter().fold(refused, |refused, (line, key, code, why)| {
        let field = key.map_or_else(|| format!("line {line}"), |key| key.to_string());
        refused.with_field(field, code, format!("line {line} {why}"))
    }))
}

/// Why a variable cannot be set: a code and the end of a sentence.
fn refusal(key: &EnvKey, value: &str, how: &How) -> Option<(&'static str, &'static str)> {
    match key.standing() {
        Standing::Never(why) => return Some(("reserved", why)),
        Standing::NotAtBuild(why) if how.availability.is_some_and(Availability::at_build_time) => {
            return Some(("not_at_build", why));
        }
        Standing::NotAtBuild(_) | Standing::Allowed => {}
    }
    unfit(value)
}
