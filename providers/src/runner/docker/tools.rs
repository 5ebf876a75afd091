//! Tools that the image lacks, each version in a volume that builds and servers see read-only.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use domain::ports::runner::RunnerError;
use domain::values::Resources;
use tokio::sync::Mutex;

use super::container::{Spec, VolumeAt};
use super::engine::{Engine, EngineError};
use super::files::{self, Owner};
use super::image::Image;
use super::names::Names;

/// Where tools are seen.
const TOOLS: &str = "/opt/mastra-admin";

/// Written last: who finds it finds everything.
const COMPLETE: &str = ".complete";

/// The volumes that are known to be whole.
#[derive(Default)]
pub(super) struct ToolVolumes(Mutex<HashSet<String>>);

impl ToolVolumes {
    /// The volume with a directory of tools of this machine, filled if it is not.
    pub(super) async fn volume(
        &self,
        engine: &Engine,
        names: &Names,
        image: &Image,
        root: PathBuf,
    ) -> Result<VolumeAt, EngineError> {
        let volume = names.of(&format!("tool-{}", file_name(&root)));
        let at = inside(&root, &root);
        let mut whole = self.0.lock().await;
        if !whole.contains(&volume) {
            engine.make_volume(&volume, names.labels("tool")).await?;
            self.fill(engine, names, image, &volume, root).await?;
            whole.insert(volume.clone());
        }
        Ok(VolumeAt { volume, at, writable: false })
    }

    async fn fill(
        &self,
        engine: &Engine,
        names: &Names,
        image: &Image,
        volume: &str,
        root: PathBuf,
    ) -> Result<(), EngineError> {
        let at = inside(&root, &root);
        let spec = Spec {
            name: format!("{volume}-fill"),
            image,
            argv: vec!["/nothing".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            labels: names.labels("tool"),
            network: None,
            volumes: vec![VolumeAt { volume: volume.to_owned(), at: at.clone(), writable: true }],
            in_memory: Vec::new(),
            limits: Resources::SERVER,
        };
        let container = engine.create(spec).await?;
        let filled = async {
            if engine.has(&container, &format!("{at}/{COMPLETE}")).await? {
                return Ok(());
            }
            let write = move |archive: &mut tar::Builder<&mut dyn std::io::Write>| {
                files::tree(archive, &root, Path::new("."), Owner::Root)?;
                files::file(archive, COMPLETE, b"")
            };
            engine.fill(&container, &at, write).await
        };
        let filled = filled.await;
        engine.remove_container(&container).await?;
        filled
    }
}

/// Where a path at or below a directory of tools is seen in a container.
pub(super) fn inside(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(Path::new(""));
    let at = Path::new(TOOLS).join(file_name(root)).join(below);
    at.display().to_string().trim_end_matches('/').to_owned()
}

/// Where each of these directories is seen, which are all below one of the roots.
pub(super) fn all_inside(roots: &[PathBuf], paths: &[PathBuf]) -> Result<Vec<String>, RunnerError> {
    let one = |path: &PathBuf| {
        let root = roots.iter().find(|root| path.starts_with(root));
        root.map(|root| inside(root, path))
            .ok_or_else(|| RunnerError(format!("{} belongs to no tool", path.display())))
    };
    paths.iter().map(one).collect()
}

fn file_name(root: &Path) -> String {
    root.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Variables of tools, where one names a file of this machine that is elsewhere in the container.
pub(super) fn moved(env: &[(String, String)], files: &HashMap<&str, &str>) -> Vec<(String, String)> {
    let moved =
        |value: &String| files.get(value.as_str()).map_or_else(|| value.clone(), |to| (*to).to_owned());
    env.iter().map(|(key, value)| (key.clone(), moved(value))).collect()
}
