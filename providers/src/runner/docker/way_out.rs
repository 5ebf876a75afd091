//! The network of a build: one of its own with one way out, through the platform.
//!
//! A container that does nothing holds a network in which there is nothing but loopback; the platform listens in it,
//! and the build's commands share it. Where the platform cannot enter the networks of containers, because it is not
//! root or not on the engine's machine, builds see their team's network.

use std::fs;
use std::sync::Arc;

use domain::ports::logs::{Output, say};
use domain::ports::runner::BuildPlan;
use domain::secret::Secret;
use domain::values::Resources;
use tokio_util::task::AbortOnDropHandle;

use super::container::Spec;
use super::engine::EngineError;
use super::image::Image;
use super::networks::Use;
use super::{Inner, names};
use crate::runner::egress::{self, EgressRule};

/// Of the container that holds the network: it sleeps.
const LIMITS: Resources = Resources {
    memory_mib: Some(32),
    cpu_millis: Some(100),
    pids: Some(8),
    disk_mib: None,
    timeout_seconds: None,
};

/// The network of one build, for as long as this is held.
pub(super) enum WayOut {
    /// Its team's.
    Team(Use),
    /// That of this container, in which the proxy is served.
    Door { container: String, _proxy: AbortOnDropHandle<()> },
}

impl WayOut {
    /// Opens it, with a word to the build's owner where the rules cannot be held.
    pub(super) async fn open(
        inner: &Inner,
        plan: &BuildPlan,
        image: &Image,
        output: &Arc<dyn Output>,
    ) -> Result<Self, EngineError> {
        if let Some(rules) = &inner.egress {
            if let Some(door) = Self::door(inner, plan, image, rules, output).await? {
                return Ok(door);
            }
            tracing::warn!(
                "the engine's containers are not on this machine: builds see the network of their team, \
                 whatever they may reach"
            );
            say(&**output, "Warning: what this build may reach is not bounded.");
        }
        Ok(Self::Team(inner.networks.enter(plan.team_id).await?))
    }

    async fn door(
        inner: &Inner,
        plan: &BuildPlan,
        image: &Image,
        rules: &Arc<Vec<EgressRule>>,
        output: &Arc<dyn Output>,
    ) -> Result<Option<Self>, EngineError> {
        let spec = Spec {
            name: inner.names.of(&format!("{}-door", names::build(plan.build_id))),
            image,
            argv: ["sleep", "infinity"].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), Secret::new(image.path.clone()))],
            cwd: "/".to_owned(),
            labels: inner.names.build_labels(plan),
            network: None,
            volumes: Vec::new(),
            in_memory: Vec::new(),
            limits: LIMITS,
        };
        let container = inner.engine.create(spec).await?;
        inner.engine.start(&container).await?;
        let pid = inner.engine.state(&container).await?.pid.and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.filter(|pid| is_of(*pid, &container)) else {
            inner.engine.remove_container(&container).await?;
            return Ok(None);
        };
        let entered =
            |error: std::io::Error| EngineError::Away(format!("its network was not entered: {error}"));
        let _proxy = egress::serve(pid, rules.clone(), output.clone()).map_err(entered)?;
        Ok(Some(Self::Door { container, _proxy }))
    }

    /// As the engine is told of it.
    pub(super) fn mode(&self) -> String {
        match self {
            Self::Team(used) => used.network.clone(),
            Self::Door { container, .. } => format!("container:{container}"),
        }
    }

    /// What commands need to be told to use it.
    pub(super) fn environment(&self) -> Vec<(String, Secret)> {
        match self {
            Self::Team(_) => Vec::new(),
            Self::Door { .. } => egress::environment().collect(),
        }
    }
}

/// Whether the process is of this container: an engine elsewhere has numbers of its own, and another process of this
/// machine may have the same.
fn is_of(pid: i32, container: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(container))
}
