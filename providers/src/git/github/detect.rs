//! Mastra apps in a repository, by a few files that the API shows: nothing is cloned.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::git_host::{HostApp, HostError};
use domain::values::{BranchName, RelativePath};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Grant, Who, segments};

/// As many packages are looked into.
const MAX_PACKAGES: usize = 50;
/// Where Mastra looks for its source, below the app.
const SOURCES: [&str; 2] = ["src/mastra", "mastra"];
const ENTRIES: [&str; 2] = ["index.ts", "index.js"];

#[derive(Deserialize)]
struct Tree {
    tree: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Files of one repository at one branch.
struct Files<'a> {
    client: &'a Client,
    who: Who,
    /// Encoded.
    name: &'a str,
    branch: Option<&'a BranchName>,
}

/// The apps of a repository: that at its root, or else those of its packages.
pub(super) async fn apps(
    client: &Client,
    installation: i64,
    name: &str,
    branch: Option<&BranchName>,
) -> Result<Vec<HostApp>, HostError> {
    let files = Files { client, who: Who::Installation(installation, Grant::All), name, branch };
    let root = files.manifest("package.json").await?;
    let mut apps = Vec::new();
    if let Some(app) = root.as_ref().and_then(|manifest| app(".", manifest)) {
        apps.push(files.with_source(app).await?);
    }
    let has_packages = root.as_ref().is_none_or(|manifest| !manifest["workspaces"].is_null());
    if apps.is_empty() || has_packages {
        apps.extend(files.packages().await?);
    }
    Ok(apps)
}

impl Files<'_> {
    /// A file as JSON; nothing when it is not there or is none.
    async fn manifest(&self, path: &str) -> Result<Option<Value>, HostError> {
        #[derive(Deserialize)]
        struct Content {
            content: Option<String>,
        }
        let reference = self.branch.map(|it| format!("?ref={}", segments(it.as_str()))).unwrap_or_default();
        let path = format!("/repos/{}/contents/{}{reference}", self.name, segments(path));
        let content: Content = match self.client.get(&path, self.who.clone()).await {
            Ok((content, _)) => content,
            Err(HostError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text: String = content.content.unwrap_or_default().split_whitespace().collect();
        let bytes = STANDARD.decode(text).unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).ok())
    }

    async fn is_there(&self, path: &str) -> Result<bool, HostError> {
        let reference = self.branch.map(|it| format!("?ref={}", segments(it.as_str()))).unwrap_or_default();
        let path = format!("/repos/{}/contents/{}{reference}", self.name, segments(path));
        match self.client.get::<Value>(&path, self.who.clone()).await {
            Ok(_) => Ok(true),
            Err(HostError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Finds the source directory of the app at the root.
    async fn with_source(&self, app: HostApp) -> Result<HostApp, HostError> {
        for source in SOURCES {
            for entry in ENTRIES {
                if self.is_there(&format!("{source}/{entry}")).await? {
                    return Ok(HostApp { mastra_directory: source.parse().ok(), ..app });
                }
            }
        }
        Ok(app)
    }

    /// The apps below the root, by one listing of all files.
    async fn packages(&self) -> Result<Vec<HostApp>, HostError> {
        let head = self.branch.map_or_else(|| "HEAD".to_owned(), |branch| segments(branch.as_str()));
        let path = format!("/repos/{}/git/trees/{head}?recursive=1", self.name);
        let (tree, _): (Tree, bool) = self.client.get(&path, self.who.clone()).await?;
        let paths: Vec<&str> =
            tree.tree.iter().filter(|entry| entry.kind == "blob").map(|entry| entry.path.as_str()).collect();
        let manifests = paths.iter().filter_map(|path| path.strip_suffix("/package.json"));
        let manifests = manifests.filter(|folder| !folder.split('/').any(|part| part == "node_modules"));
        let mut apps = Vec::new();
        for folder in manifests.take(MAX_PACKAGES) {
            let Some(manifest) = self.manifest(&format!("{folder}/package.json")).await? else { continue };
            let Some(app) = app(folder, &manifest) else { continue };
            let has = |source: &str| {
                ENTRIES.iter().any(|entry| paths.contains(&format!("{folder}/{source}/{entry}").as_str()))
            };
            let source =
                SOURCES.into_iter().find(|source| has(source)).and_then(|source| source.parse().ok());
            apps.push(HostApp { mastra_directory: source, ..app });
        }
        Ok(apps)
    }
}

/// The app that a package is, if it asks for Mastra.
fn app(folder: &str, manifest: &Value) -> Option<HostApp> {
    let asks = |kind: &str| manifest[kind]["@mastra/core"].as_str();
    let core = asks("dependencies").or_else(|| asks("devDependencies"))?;
    let project_root: RelativePath = folder.parse().ok()?;
    let name = manifest["name"].as_str().map(str::to_owned);
    Some(HostApp { project_root, mastra_directory: None, core: core.to_owned(), name })
}
