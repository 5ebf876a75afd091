//! Opens the frozen variables of a build or deployment.

use domain::ids::ProjectId;
use domain::project::EnvVar;
use domain::sealed::purpose;
use domain::secret::Secret;
use domain::values::EnvKey;

use crate::{JobError, World};

/// A variable with its value.
pub(crate) struct OpenVar {
    pub(crate) key: EnvKey,
    pub(crate) value: Secret,
    pub(crate) sensitive: bool,
}

/// The values of these variables, byte for byte as they were set.
pub(crate) async fn open(
    world: &World,
    project: ProjectId,
    vars: &[EnvVar],
) -> Result<Vec<OpenVar>, JobError> {
    let ids: Vec<_> = vars.iter().map(|var| var.value_id).collect();
    let sealed = projections::env_vars::sealed_values(&world.pool, project, &ids).await?;
    let mut open = Vec::with_capacity(vars.len());
    for var in vars {
        let Some(sealed) = sealed.iter().find(|sealed| sealed.id == var.value_id) else {
            return Err(JobError::Retry(format!("the value of {} is not known yet", var.key)));
        };
        let purpose = purpose::env_var(var.environment_id, &var.key);
        let value = world.commands.vault().open_sealed(sealed, &purpose).await?;
        open.push(OpenVar { key: var.key.clone(), value, sensitive: var.sensitive });
    }
    Ok(open)
}

/// What must never be seen in output.
pub(crate) fn masked(vars: &[OpenVar]) -> Vec<Secret> {
    vars.iter().filter(|var| var.sensitive).map(|var| var.value.clone()).collect()
}

/// Names and values, for the process.
pub(crate) fn env(vars: Vec<OpenVar>) -> Vec<(EnvKey, Secret)> {
    vars.into_iter().map(|var| (var.key, var.value)).collect()
}
