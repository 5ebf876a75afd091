//! One container: what it may, made, followed to its end.
//!
//! Invariant: no capability, no new privileges, no root, a root file system that is read-only, nothing of the
//! host mounted, limits on memory, processes, processor time and log; the environment is what is said here.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, ResourcesUlimits,
};
use bollard::query_parameters as query;
use domain::secret::Secret;
use domain::values::Resources;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::engine::{Engine, EngineError, ask};
use super::image::Image;
use crate::runner::ended::{Ended, Excess};

/// User and group inside: `node` of the official images.
pub(super) const USER: u64 = 1000;

/// What the engine keeps of one container's output: it is read meanwhile.
const LOG_FILES: [(&str, &str); 3] = [("max-size", "10m"), ("max-file", "3"), ("compress", "false")];

/// Between two looks, when nobody tells that a container has ended.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How late the engine may tell that memory ran out.
const OOM_NEWS: Duration = Duration::from_millis(500);

/// What one container gets.
pub(super) struct Spec<'a> {
    pub(super) name: String,
    pub(super) image: &'a Image,
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) env: Vec<(String, Secret)>,
    pub(super) cwd: String,
    pub(super) labels: HashMap<String, String>,
    /// As the engine names it; absent, it has none.
    pub(super) network: Option<String>,
    pub(super) volumes: Vec<VolumeAt>,
    /// Directories in memory, of this many MiB each.
    pub(super) in_memory: Vec<(&'static str, u32)>,
    pub(super) limits: Resources,
}

/// A volume and where it is seen.
#[derive(Clone, Debug)]
pub(super) struct VolumeAt {
    pub(super) volume: String,
    pub(super) at: String,
    pub(super) writable: bool,
}

impl Engine {
    /// Makes a container, which does not run yet; answers its id. One of the same name is replaced.
    pub(super) async fn create(&self, spec: Spec<'_>) -> Result<String, EngineError> {
        let name = spec.name.clone();
        let body = body(spec)?;
        let docker = self.docker().await?;
        let create = async || {
            let options = query::CreateContainerOptionsBuilder::new().name(&name).build();
            let (docker, body) = (docker.clone(), body.clone());
            self.make("make a container", async move { docker.create_container(Some(options), body).await })
                .await
        };
        let created = match create().await {
            Err(error) if error.is_conflict() => {
                self.remove_container(&name).await?;
                create().await?
            }
            other => other?,
        };
        Ok(created.id)
    }

    /// Lets it run.
    pub(super) async fn start(&self, container: &str) -> Result<(), EngineError> {
        let docker = self.docker().await?;
        ask("start a container", docker.start_container(container, None::<query::StartContainerOptions>))
            .await
    }

    /// Waits until it has ended. The engine may be away meanwhile, for `patience` at most.
    pub(super) async fn ended(
        &self,
        container: &str,
        patience: Option<Duration>,
    ) -> Result<Ended, EngineError> {
        let mut away_since: Option<Instant> = None;
        loop {
            match self.state(container).await {
                Ok(state) if state.running != Some(true) => return Ok(self.how(container).await),
                Ok(_) => away_since = None,
                Err(error) if error.is_missing() => return Ok(Ended::default()),
                Err(error) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if patience.is_some_and(|patience| since.elapsed() > patience) {
                        return Err(error);
                    }
                    sleep(Duration::from_millis(250)).await;
                }
            }
            let Ok(docker) = self.docker().await else { continue };
            let options = query::WaitContainerOptionsBuilder::new().condition("not-running").build();
            let mut told = Box::pin(docker.wait_container(container, Some(options)));
            // It also says so by breaking off; then the state tells.
            let _looked_at_anyway = timeout(LOOK_EVERY, told.next()).await;
        }
    }

    /// How one that runs no more has ended.
    async fn how(&self, container: &str) -> Ended {
        let deadline = Instant::now() + OOM_NEWS;
        loop {
            let Ok(state) = self.state(container).await else { return Ended::default() };
            let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
            let excess = (state.oom_killed == Some(true) && code != 0).then_some(Excess::Memory);
            // Killed, and the engine does not say why yet.
            if code != 137 || excess.is_some() || Instant::now() > deadline {
                return Ended::of_code(code, excess);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn body(spec: Spec<'_>) -> Result<ContainerCreateBody, EngineError> {
    let (limits, network) = (spec.limits, spec.network.unwrap_or_else(|| "none".to_owned()));
    let memory = limits.memory_mib.map(|mebibytes| i64::from(mebibytes) << 20);
    let ulimit = |name: &str, value: i64| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    };
    let mut ulimits = vec![ulimit("core", 0)];
    ulimits.extend(limits.disk_mib.map(|mebibytes| ulimit("fsize", i64::from(mebibytes) << 20)));
    let in_memory = spec.in_memory.iter().map(|(at, mebibytes)| {
        let options = format!("rw,nosuid,nodev,size={mebibytes}m,uid={USER},gid={USER},mode=0700");
        ((*at).to_owned(), options)
    });
    let mounts = spec.volumes.into_iter().map(|VolumeAt { volume, at, writable }| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume),
        target: Some(at),
        read_only: Some(!writable),
        ..Default::default()
    });
    let host = HostConfig {
        memory,
        memory_swap: memory,
        // A quota, because more than the machine has is no error then.
        cpu_period: limits.cpu_millis.map(|_| 100_000),
        cpu_quota: limits.cpu_millis.map(|millis| i64::from(millis) * 100),
        pids_limit: limits.pids.map(i64::from),
        ulimits: Some(ulimits),
        init: Some(true),
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".to_owned()),
            config: Some(
                LOG_FILES.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ),
        }),
        network_mode: Some(network.clone()),
        mounts: Some(mounts.collect()),
        tmpfs: Some(in_memory.collect()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        shm_size: Some(64 << 20),
        ..Default::default()
    };
    Ok(ContainerCreateBody {
        // One that shares a network has the name of whose it is.
        hostname: (!network.starts_with("container:")).then(|| "sandbox".to_owned()),
        user: Some(format!("{USER}:{USER}")),
        env: Some(environment(spec.env, spec.image)?),
        entrypoint: Some(spec.argv),
        cmd: Some(Vec::new()),
        image: Some(spec.image.id.clone()),
        working_dir: Some(spec.cwd),
        labels: Some(spec.labels),
        stop_timeout: Some(10),
        host_config: Some(host),
        ..Default::default()
    })
}

/// What is given wins over the image's; what only the image has is taken away.
fn environment(given: Vec<(String, Secret)>, image: &Image) -> Result<Vec<String>, EngineError> {
    let mut env: HashMap<String, Option<Secret>> = image.env.iter().map(|key| (key.clone(), None)).collect();
    env.extend(given.into_iter().map(|(key, value)| (key, Some(value))));
    let lines = env.into_iter().map(|(key, value)| {
        let Some(value) = value else { return Ok(key) };
        let text = value.expose_str().filter(|text| !text.contains('\0'));
        let refused = || EngineError::Refused {
            what: "take a variable",
            status: 400,
            message: format!("the value of {key} is no text"),
        };
        Ok(format!("{key}={}", text.ok_or_else(refused)?))
    });
    lines.collect()
}
