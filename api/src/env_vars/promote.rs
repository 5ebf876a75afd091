//! `POST /environments/{environment}/env-vars/promote` — takes over the variables of another environment.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::EnvironmentId;
use domain::policy::{Action, Context};
use domain::project::{EnvVar, Project};
use domain::sealed::purpose;
use domain::values::EnvKey;
use projections::projects::EnvironmentRow;
use serde::Deserialize;

use super::many;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

/// What is taken over. Those of the whole project hold in both already.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Promote {
    /// The environment that they are copied from.
    #[schema(value_type = uuid::Uuid)]
    from: EnvironmentId,
    /// Which of its own variables; all when absent.
    #[schema(value_type = Option<Vec<String>>)]
    keys: Option<Vec<EnvKey>>,
}

/// The values are seen by nobody. Still it needs the right to set variables in both environments: who could take a
/// secret to where his own code runs could read it there.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(Promote { from, keys }): Body<Promote>,
) -> Result<Done, ApiError> {
    let (id, into) = (environment.it.project_id, environment.it.environment.id);
    let environments = projections::projects::environments(&platform.pool, id).await?;
    if !environments.iter().any(|row| row.environment.id == from) {
        let text = "must be an environment of the same project";
        return Err(ApiError::field("from", "unknown_environment", text));
    }
    if from == into {
        return Err(ApiError::field("from", "same_environment", "must be another environment"));
    }
    let there = |context| Context { environment: Some(from), ..context };
    environment.must(&platform, Action::Update, there).await?;
    let context = environment.context();
    for left in (0..many::TRIES).rev() {
        let known = platform.commands.load::<Project>(id).await?;
        let chosen = chosen(&known.aggregate, from, keys.as_deref())?;
        let ids: Vec<_> = chosen.iter().map(|var| var.value_id).collect();
        let values = projections::env_vars::sealed_values(&platform.pool, id, &ids).await?;
        let mut vars = Vec::with_capacity(chosen.len());
        for EnvVar { key, value_id, sensitive, availability, .. } in chosen {
            // The query tables may be a moment behind the log.
            let sealed =
                values.iter().find(|value| value.id == value_id).ok_or_else(ApiError::unavailable)?;
            let purpose = purpose::env_var(Some(from), &key);
            let value = platform.commands.vault().open_sealed(sealed, &purpose).await?;
            let plain = many::Plain { key, value: value.expose(), sensitive, availability };
            vars.push(many::seal(&platform, (id, Some(into)), plain, &context).await?);
        }
        if let Some(done) =
            many::set(&platform, (id, known), (Some(into), false), vars, &context, left).await?
        {
            return Ok(done);
        }
    }
    Err(ApiError::unavailable())
}

/// The environment's own variables of these names.
fn chosen(project: &Project, from: EnvironmentId, keys: Option<&[EnvKey]>) -> Result<Vec<EnvVar>, ApiError> {
    let mut own = project.env_vars_in(from);
    own.retain(|var| var.environment_id == Some(from));
    let Some(keys) = keys else { return Ok(own) };
    if let Some(n) = keys.iter().position(|key| !own.iter().any(|var| var.key == *key)) {
        let text = "must be a variable of that environment";
        return Err(ApiError::field(format!("keys[{n}]"), "unknown_variable", text));
    }
    own.retain(|var| keys.contains(&var.key));
    Ok(own)
}
