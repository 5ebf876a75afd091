//! One network a team: its builds and servers reach the world and each other, and nobody of another team.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkCreateRequest};
use bollard::query_parameters as query;
use domain::ids::TeamId;
use tokio::sync::Mutex;

use super::engine::{Engine, EngineError, ask};
use super::names::Names;

/// The networks of this platform, with how many builds and servers use each.
pub(super) struct Networks {
    engine: Arc<Engine>,
    names: Names,
    /// The container that the platform itself runs in, if it does: it joins the networks, to reach servers.
    platform: Option<String>,
    users: Arc<Mutex<HashMap<TeamId, usize>>>,
}

/// Keeps a team's network as long as this.
pub(super) struct Use {
    pub(super) network: String,
    team: TeamId,
    users: Arc<Mutex<HashMap<TeamId, usize>>>,
}

impl Networks {
    pub(super) fn new(engine: Arc<Engine>, names: Names, platform: Option<String>) -> Self {
        Self { engine, names, platform, users: Arc::default() }
    }

    /// The team's network, made if it is not there.
    pub(super) async fn enter(&self, team: TeamId) -> Result<Use, EngineError> {
        let network = self.names.of(&format!("team-{team}"));
        let mut users = self.users.lock().await;
        self.make(&network, team).await?;
        *users.entry(team).or_default() += 1;
        Ok(Use { network, team, users: self.users.clone() })
    }

    async fn make(&self, network: &str, team: TeamId) -> Result<(), EngineError> {
        let docker = self.engine.docker().await?;
        let shown = docker.inspect_network(network, None::<query::InspectNetworkOptions>);
        match ask("show a network", shown).await {
            Ok(_) => return self.join(network).await,
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
        let request = NetworkCreateRequest {
            name: network.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(self.names.team_labels("network", team)),
            ..Default::default()
        };
        match ask("make a network", docker.create_network(request)).await {
            Err(error) if error.is_conflict() => {}
            other => drop(other?),
        }
        self.join(network).await
    }

    /// Puts the platform's own container into a network: also one that it was in before it was made anew.
    async fn join(&self, network: &str) -> Result<(), EngineError> {
        let Some(platform) = &self.platform else { return Ok(()) };
        let docker = self.engine.docker().await?;
        let request = NetworkConnectRequest {
            container: platform.clone(),
            endpoint_config: Some(EndpointSettings::default()),
        };
        match ask("join a network", docker.connect_network(network, request)).await {
            // It is in it already.
            Err(error) if error.is_conflict() || error.is_forbidden() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether there is anything but the platform in a network.
    async fn is_used(&self, network: &str) -> Result<bool, EngineError> {
        let docker = self.engine.docker().await?;
        let shown = docker.inspect_network(network, None::<query::InspectNetworkOptions>);
        let shown = ask("show a network", shown).await?;
        let platform = self.platform.as_deref().unwrap_or_default();
        let inside = shown.containers.unwrap_or_default();
        Ok(inside.iter().any(|(id, it)| !id.starts_with(platform) && it.name.as_deref() != Some(platform)))
    }

    /// Removes the networks that nobody uses any more. The engine refuses for those in use by containers.
    pub(super) async fn tidy(&self) -> Result<(), EngineError> {
        let users = self.users.lock().await;
        let docker = self.engine.docker().await?;
        let options = query::ListNetworksOptionsBuilder::new().filters(&self.names.filter(None)).build();
        for network in ask("list networks", docker.list_networks(Some(options))).await? {
            let Some(name) = network.name else { continue };
            let team = users.iter().find(|(team, _)| self.names.of(&format!("team-{team}")) == name);
            if team.is_some_and(|(_, count)| *count > 0) {
                continue;
            }
            if self.platform.is_some() && self.is_used(&name).await? {
                continue;
            }
            if let Some(platform) = &self.platform {
                let request = bollard::models::NetworkDisconnectRequest {
                    container: platform.clone(),
                    force: Some(true),
                };
                let _not_in_it = ask("leave a network", docker.disconnect_network(&name, request)).await;
            }
            let _in_use = ask("remove a network", docker.remove_network(&name)).await;
        }
        Ok(())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let (users, team) = (self.users.clone(), self.team);
        // Nobody waits under this lock but for the engine.
        tokio::spawn(async move {
            if let Some(count) = users.lock().await.get_mut(&team) {
                *count -= 1;
            }
        });
    }
}
