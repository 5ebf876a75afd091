//! Removes what nobody owns: after a build or server, after an engine was away, after an earlier life.

use std::collections::HashSet;
use std::sync::{PoisonError, Weak};
use std::time::Duration;

use bollard::query_parameters as query;
use domain::ids::DeploymentId;
use domain::project::MAX_REPLICAS;
use tokio::time::sleep;

use super::Inner;
use super::engine::{Engine, EngineError, ask};
use super::names::{self, KIND, Labels, OWNER};
use crate::runner::directories::clear;

/// Between two tries to remove what could not be removed.
const PAY_EVERY: Duration = Duration::from_secs(5);

/// So many of them between two looks for networks that nobody uses.
const NETWORKS_EVERY: u32 = 12;

impl Inner {
    /// Removes everything of one build or server.
    pub(super) async fn remove(&self, owner: &str) -> Result<(), EngineError> {
        let filter = self.names.filter(Some(owner));
        self.engine.all_made().await;
        for (container, _) in containers(&self.engine, filter.clone()).await? {
            self.engine.remove_container(&container).await?;
        }
        for (volume, _) in volumes(&self.engine, filter).await? {
            self.engine.remove_volume(&volume).await?;
        }
        if let Some(deployment) = owner.strip_prefix("server-").and_then(|id| id.parse().ok()) {
            for number in 1..=MAX_REPLICAS {
                let _none_there = tokio::fs::remove_file(self.cursor(deployment, number)).await;
            }
        }
        self.debts.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
        Ok(())
    }

    /// The same, later if the engine cannot do it now. Whoever calls it has the name.
    pub(super) async fn discard(&self, owner: &str) {
        if let Err(error) = self.remove(owner).await {
            tracing::warn!(owner, %error, "{owner} could not be removed yet: {error}");
            self.debts.lock().unwrap_or_else(PoisonError::into_inner).insert(owner.to_owned());
        }
    }
}

/// Removes what could not be removed before, until the runner is gone.
pub(super) async fn pay_debts(inner: Weak<Inner>) {
    let mut round = 0;
    loop {
        sleep(PAY_EVERY).await;
        round += 1;
        let Some(inner) = inner.upgrade() else { return };
        let debts = inner.debts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for owner in debts {
            let Some(_claim) = inner.claims.claim_if_free(&owner) else { continue };
            if inner.remove(&owner).await.is_err() {
                break;
            }
        }
        if round % NETWORKS_EVERY == 0
            && let Err(error) = inner.networks.tidy().await
        {
            tracing::debug!(%error, "networks were not tidied");
        }
    }
}

/// Removes every build and server of this platform that nobody who lives has claimed, but for the servers in
/// `keep`; then networks without containers. Other platforms of the engine are not touched.
pub(super) async fn sweep(inner: &Inner, keep: &[DeploymentId]) -> Result<(), EngineError> {
    let keep: HashSet<String> = keep.iter().map(|deployment| names::server(*deployment)).collect();
    let filter = inner.names.filter(None);
    let mut owners = HashSet::new();
    for (container, labels) in containers(&inner.engine, filter.clone()).await? {
        match labels.get(OWNER) {
            Some(owner) => drop(owners.insert(owner.clone())),
            // It helped to look into the image or to fill a volume.
            None if labels.get(KIND).is_some_and(|kind| kind == "probe" || kind == "tool") => {
                inner.engine.remove_container(&container).await?;
            }
            None => {}
        }
    }
    let of_volumes = volumes(&inner.engine, filter).await?;
    owners.extend(of_volumes.into_iter().filter_map(|(_, mut labels)| labels.remove(OWNER)));
    for owner in owners.difference(&keep) {
        let Some(_claim) = inner.claims.claim_if_free(owner) else { continue };
        inner.remove(owner).await?;
    }
    for entry in std::fs::read_dir(&inner.builds).into_iter().flatten().flatten() {
        let owner = format!("build-{}", entry.file_name().display());
        let Some(_claim) = inner.claims.claim_if_free(&owner) else { continue };
        clear(entry.path()).await;
    }
    inner.networks.tidy().await
}

type Filter = std::collections::HashMap<String, Vec<String>>;

pub(super) async fn containers(
    engine: &Engine,
    filter: Filter,
) -> Result<Vec<(String, Labels)>, EngineError> {
    let docker = engine.docker().await?;
    let options = query::ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    let found = ask("list containers", docker.list_containers(Some(options))).await?;
    Ok(found.into_iter().filter_map(|one| Some((one.id?, one.labels.unwrap_or_default()))).collect())
}

async fn volumes(engine: &Engine, filter: Filter) -> Result<Vec<(String, Labels)>, EngineError> {
    let docker = engine.docker().await?;
    let options = query::ListVolumesOptionsBuilder::new().filters(&filter).build();
    let found = ask("list volumes", docker.list_volumes(Some(options))).await?;
    Ok(found.volumes.unwrap_or_default().into_iter().map(|one| (one.name, one.labels)).collect())
}
