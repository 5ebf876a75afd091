//! The engine: found, asked within limits of time, believed in what it refuses.
//!
//! Invariant: no question waits for ever. An engine that is away or hangs fails what was asked, and nothing else.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerState, VolumeCreateRequest};
use bollard::query_parameters as query;
use bollard::{API_DEFAULT_VERSION, Docker};
use thiserror::Error;
use tokio::sync::RwLock;
use tokio::time::timeout;

/// How long an answer may take; what moves files has limits of its own.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long it may take to move the files of a build or server.
pub(super) const MOVING: Duration = Duration::from_secs(300);

/// The oldest engine that does what is asked of it: 20.10.
const OLDEST: (usize, usize) = (1, 41);

/// Why the engine did not do it.
#[derive(Debug, Error)]
pub(super) enum EngineError {
    /// It is not there, or the connection broke.
    #[error("the Docker engine cannot be reached: {0}")]
    Away(String),
    /// It did not answer in time.
    #[error("the Docker engine did not answer in time when asked to {0}")]
    Slow(&'static str),
    /// It said no.
    #[error("the Docker engine refused to {what}: {message}")]
    Refused { what: &'static str, status: u16, message: String },
    /// It is older than what is needed.
    #[error("the Docker engine speaks API {0}; 1.41 (Docker 20.10) or newer is needed")]
    TooOld(String),
}

impl EngineError {
    /// Whether the thing is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether it may not be done; a container that is in a network already is told so.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }

    /// Whether it is there already, or is not in a state for this.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// The way to one engine.
pub(super) struct Engine {
    host: String,
    client: Mutex<Option<Docker>>,
    /// Held by each thing that is being made.
    making: Arc<RwLock<()>>,
}

impl Engine {
    /// `host` as `DOCKER_HOST` has it; nobody is asked yet.
    pub(super) fn new(host: String) -> Self {
        Self { host, client: Mutex::default(), making: Arc::default() }
    }

    /// A client that speaks the engine's version; made when it is first reached.
    pub(super) async fn docker(&self) -> Result<Docker, EngineError> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let connect = || -> Result<Docker, Error> {
            match self.host.strip_prefix("unix://").or(self.host.starts_with('/').then_some(&self.host)) {
                Some(path) => Docker::connect_with_unix(path, PATIENCE.as_secs(), API_DEFAULT_VERSION),
                None => Docker::connect_with_http(&self.host, PATIENCE.as_secs(), API_DEFAULT_VERSION),
            }
        };
        let client = connect().map_err(|error| of(error, "connect"))?;
        let client = ask("tell its version", client.negotiate_version()).await?;
        let version = client.client_version();
        if (version.major_version, version.minor_version) < OLDEST {
            return Err(EngineError::TooOld(version.to_string()));
        }
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// A client for moving files.
    pub(super) async fn mover(&self) -> Result<Docker, EngineError> {
        Ok(self.docker().await?.with_timeout(MOVING))
    }

    /// State of a container.
    pub(super) async fn state(&self, container: &str) -> Result<ContainerState, EngineError> {
        let docker = self.docker().await?;
        let asked = docker.inspect_container(container, None::<query::InspectContainerOptions>);
        Ok(ask("show a container", asked).await?.state.unwrap_or_default())
    }

    /// Removes a container with its processes; gone already is fine.
    pub(super) async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        let options = query::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let docker = self.docker().await?;
        let removed = ask("remove a container", docker.remove_container(container, Some(options))).await;
        match removed {
            // Somebody else removes it at the moment: it is asked until it is gone.
            Err(error) if error.is_conflict() => match self.gone(container).await {
                true => Ok(()),
                false => Err(error),
            },
            other => absent_is_fine(other),
        }
    }

    async fn gone(&self, container: &str) -> bool {
        for _ in 0..100 {
            if self.state(container).await.is_err_and(|error| error.is_missing()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Asks for something to be made, and hears the answer also if nobody waits for it any more: what is made then
    /// can be removed by who waits for [`Self::all_made`].
    pub(super) async fn make<T: Send + 'static>(
        &self,
        what: &'static str,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let made = self.making.clone().read_owned().await;
        let making = tokio::spawn(async move {
            let _made = made;
            ask(what, request).await
        });
        making.await.unwrap_or_else(|panic| Err(EngineError::Away(panic.to_string())))
    }

    /// Resolves when all is made that was asked for before.
    pub(super) async fn all_made(&self) {
        drop(self.making.write().await);
    }

    /// Makes a volume, unless it is there.
    pub(super) async fn make_volume(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), EngineError> {
        let request =
            VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..Default::default() };
        let docker = self.docker().await?;
        self.make("make a volume", async move { docker.create_volume(request).await }).await.map(drop)
    }

    /// Where a volume's files are, if there is one and this machine has them and lets us see them.
    pub(super) async fn directory_of(&self, name: &str) -> Result<Option<PathBuf>, EngineError> {
        let docker = self.docker().await?;
        match ask("show a volume", docker.inspect_volume(name)).await {
            Ok(volume) => Ok(Some(PathBuf::from(volume.mountpoint)).filter(|dir| dir.read_dir().is_ok())),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a volume; gone already is fine.
    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let docker = self.docker().await?;
        absent_is_fine(
            ask("remove a volume", docker.remove_volume(name, None::<query::RemoveVolumeOptions>)).await,
        )
    }

    /// Sends a signal; a container that does not run any more is fine.
    pub(super) async fn signal(&self, container: &str, signal: &str) -> Result<(), EngineError> {
        let options = query::KillContainerOptionsBuilder::new().signal(signal).build();
        let docker = self.docker().await?;
        match ask("signal a container", docker.kill_container(container, Some(options))).await {
            Err(error) if error.is_conflict() => Ok(()),
            other => absent_is_fine(other),
        }
    }
}

/// Waits for an answer, within its limit.
pub(super) async fn ask<T>(
    what: &'static str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    within(PATIENCE, what, request).await
}

/// Waits for an answer that takes longer.
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    match timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| of(error, what)),
        Err(_elapsed) => Err(EngineError::Slow(what)),
    }
}

fn absent_is_fine(outcome: Result<(), EngineError>) -> Result<(), EngineError> {
    match outcome {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}

pub(super) fn of(error: Error, what: &'static str) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            EngineError::Refused { what, status: status_code, message }
        }
        Error::RequestTimeoutError => EngineError::Slow(what),
        other => EngineError::Away(chain(&other)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
