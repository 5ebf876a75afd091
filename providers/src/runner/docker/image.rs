//! The base image: there or pulled, and what it has.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters as query;
use domain::secret::Secret;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::container::Spec;
use super::engine::{Engine, EngineError, ask, of, within};
use super::logs;

/// How long a pull may take.
const PULLING: Duration = Duration::from_secs(600);

/// Finds out which Node an image has, and whether npm comes with it.
const PROBE: &str = "const fs = require('fs');
const npm = (process.env.PATH || '').split(':').some((dir) => fs.existsSync(dir + '/npm'));
console.log(JSON.stringify({ version: process.versions.node, npm }));";

/// When the image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    Missing,
    /// Before each build.
    Always,
    /// Never: it has to be there.
    Never,
}

/// The image as it is now.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) id: String,
    /// Names of the variables it sets.
    pub(super) env: Vec<String>,
    /// Where it finds programs.
    pub(super) path: String,
    /// Version of its Node, if it has one that comes with npm.
    pub(super) node: Option<String>,
}

#[derive(Deserialize)]
struct Probed {
    version: String,
    npm: bool,
}

/// The configured image.
pub(super) struct Images {
    name: String,
    policy: PullPolicy,
    /// Those that were looked into, by id.
    known: Mutex<HashMap<String, Image>>,
}

impl Images {
    pub(super) fn new(name: String, policy: PullPolicy) -> Self {
        Self { name, policy, known: Mutex::default() }
    }

    /// The image for a build: fetched as the policy says.
    pub(super) async fn for_build(
        &self,
        engine: &Engine,
        labels: HashMap<String, String>,
    ) -> Result<Image, EngineError> {
        if self.policy == PullPolicy::Always {
            self.pull(engine).await?;
        }
        self.for_server(engine, labels).await
    }

    /// The image for a server: fetched when it is not there, unless that is forbidden.
    pub(super) async fn for_server(
        &self,
        engine: &Engine,
        labels: HashMap<String, String>,
    ) -> Result<Image, EngineError> {
        let mut known = self.known.lock().await;
        let mut image = match self.inspect(engine).await {
            Err(error) if error.is_missing() && self.policy != PullPolicy::Never => {
                self.pull(engine).await?;
                self.inspect(engine).await?
            }
            other => other?,
        };
        if let Some(known) = known.get(&image.id) {
            return Ok(known.clone());
        }
        image.node = probe(engine, &image, labels).await?;
        known.insert(image.id.clone(), image.clone());
        Ok(image)
    }

    /// The image as the engine has it.
    pub(super) async fn inspect(&self, engine: &Engine) -> Result<Image, EngineError> {
        let docker = engine.docker().await?;
        let found = ask("show the base image", docker.inspect_image(&self.name)).await?;
        let variables = found.config.and_then(|config| config.env).unwrap_or_default();
        let pairs: Vec<_> = variables.iter().filter_map(|line| line.split_once('=')).collect();
        let path = pairs.iter().find(|(key, _)| *key == "PATH").map(|(_, value)| (*value).to_owned());
        Ok(Image {
            id: found.id.unwrap_or_default(),
            env: pairs.iter().map(|(key, _)| (*key).to_owned()).collect(),
            path: path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned()),
            node: None,
        })
    }

    async fn pull(&self, engine: &Engine) -> Result<(), EngineError> {
        let what = "pull the base image";
        let docker = engine.docker().await?;
        let options = query::CreateImageOptionsBuilder::new().from_image(&self.name).build();
        let mut progress = Box::pin(docker.create_image(Some(options), None, None));
        let pulled = within(PULLING, what, async {
            while let Some(step) = progress.next().await {
                step?;
            }
            Ok(())
        });
        pulled.await
    }
}

/// Asks the image's own Node, in a container without network.
async fn probe(
    engine: &Engine,
    image: &Image,
    labels: HashMap<String, String>,
) -> Result<Option<String>, EngineError> {
    let name = format!("{}-probe-{}", labels[super::names::INSTANCE], uuid::Uuid::now_v7());
    let spec = Spec {
        name,
        image,
        argv: ["node", "-e", PROBE].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), Secret::new(image.path.as_str()))],
        cwd: "/".to_owned(),
        labels,
        network: None,
        volumes: Vec::new(),
        in_memory: Vec::new(),
        limits: domain::values::Resources::SERVER,
    };
    let container = engine.create(spec).await?;
    let said = async {
        match engine.start(&container).await {
            // There is no such program in it.
            Err(EngineError::Refused { .. }) => return Ok(None),
            other => other?,
        }
        engine.ended(&container, Some(Duration::from_secs(30))).await?;
        logs::all(engine, &container).await.map(Some).map_err(|error| of(error, "show output"))
    };
    let said = said.await;
    engine.remove_container(&container).await?;
    let probed = said?.and_then(|text| serde_json::from_slice::<Probed>(&text).ok());
    Ok(probed.filter(|probed| probed.npm).map(|probed| probed.version))
}
