//! What the tests of the runner share.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::ids::{DeploymentId, ProjectId, TeamId};
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts};
use domain::ports::git::{Git, GitError, Repository};
use domain::ports::logs::{LogStream, Output};
use domain::ports::runner::StartPlan;
use domain::secret::Secret;
use domain::values::{BranchName, CommitSha, Resources};
use tempfile::TempDir;
use uuid::Uuid;

use crate::runner::app::toolchain::Toolchains;
use crate::runner::local::{LocalRunner, LocalRunnerConfig};

/// Nothing that these tests wait for takes longer on a loaded machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// A Mastra server as far as the runner sees one.
pub(super) const SERVER: &str = r#"
import fs from 'node:fs';
import http from 'node:http';
const server = http.createServer((request, response) => {
  if (request.url === '/health') return response.end('{"success":true}');
  if (request.url === '/env') return response.end(JSON.stringify(process.env));
  if (request.url === '/files') return response.end(JSON.stringify(fs.readdirSync('.', { recursive: true }).sort()));
  if (request.url === '/crash') process.exit(3);
  if (request.url === '/grow') { const hog = []; for (;;) hog.push(Buffer.alloc(16 << 20, 1)); }
  response.end('<html>');
});
process.on('SIGTERM', () => { console.log('goodbye'); process.exit(0); });
server.listen(Number(process.env.PORT), process.env.MASTRA_HOST, () => console.log('listening'));
"#;

/// A runner whose data directory goes with it.
pub(super) struct Bench {
    pub(super) runner: LocalRunner,
    pub(super) output: Arc<Recorder>,
    pub(super) dir: TempDir,
    store: Arc<Shelf>,
}

impl Bench {
    pub(super) async fn start() -> Self {
        Self::of(&[]).await
    }

    /// Its only repository holds these files, whatever it is asked for.
    pub(super) async fn of(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Shelf::default());
        let runner = open(dir.path(), files, store.clone()).await;
        Self { runner, output: Arc::default(), dir, store }
    }

    /// A plan for a server whose only file is this one.
    pub(super) fn plan(&self, index: &str) -> StartPlan {
        plan(self.store.pack(&[("index.mjs", index)]))
    }

    pub(super) fn packed(&self) -> usize {
        self.store.0.lock().unwrap().len()
    }

    /// Loses all that was packed.
    pub(super) fn forget_artifacts(&self) {
        self.store.0.lock().unwrap().clear();
    }

    /// Whether neither builds nor servers have left a file.
    pub(super) fn is_clean(&self) -> bool {
        let is_empty = |name: &str| fs::read_dir(self.dir.path().join(name)).unwrap().next().is_none();
        ["builds", "servers", "run"].into_iter().all(is_empty)
    }
}

/// A runner with this data directory.
pub(super) async fn open(data_dir: &Path, files: &[(&str, &str)], artifacts: Arc<Shelf>) -> LocalRunner {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    let config = LocalRunnerConfig {
        data_dir: data_dir.to_owned(),
        toolchains: Toolchains::new(data_dir.join("toolchains"), None),
        git: Arc::new(Repositories(files)),
        artifacts,
        bwrap: "/usr/bin/bwrap".into(),
        uid_base: 210_000,
    };
    LocalRunner::open(config).await.unwrap()
}

/// A plan for a server.
pub(super) fn plan(artifact: Artifact) -> StartPlan {
    StartPlan {
        deployment_id: DeploymentId(Uuid::now_v7()),
        project_id: ProjectId(Uuid::now_v7()),
        team_id: TeamId(Uuid::now_v7()),
        artifact,
        node_version: node_version(),
        env: vec![("GREETING".parse().unwrap(), Secret::new("hello"))],
        limits: Resources { memory_mib: Some(256), ..Resources::default() },
        start_deadline: DEADLINE,
    }
}

/// The machine's own, so that nothing is fetched.
pub(super) fn node_version() -> String {
    let version = Command::new("node").arg("--version").output().unwrap();
    String::from_utf8(version.stdout).unwrap().trim().trim_start_matches('v').to_owned()
}

/// What the server answers.
pub(super) async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Polls until it is so.
pub(super) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Keeps all output.
#[derive(Default)]
pub(super) struct Recorder(Mutex<Vec<u8>>);

impl Recorder {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[async_trait]
impl Output for Recorder {
    fn write(&self, _stream: LogStream, bytes: &[u8]) {
        self.0.lock().unwrap().extend(bytes);
    }

    async fn flush(&self) {}
}

/// Artifacts in memory.
#[derive(Default)]
pub(super) struct Shelf(Mutex<HashMap<String, Vec<u8>>>);

impl Shelf {
    /// Packs files as a build would.
    pub(super) fn pack(&self, files: &[(&str, &str)]) -> Artifact {
        let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        self.keep(archive.into_inner().unwrap().finish().unwrap())
    }

    fn keep(&self, content: Vec<u8>) -> Artifact {
        use sha2::{Digest, Sha256};
        let sha256 = hex::encode(Sha256::digest(&content));
        let bytes = content.len() as u64;
        self.0.lock().unwrap().insert(sha256.clone(), content);
        Artifact { sha256, bytes }
    }
}

#[async_trait]
impl Artifacts for Shelf {
    async fn put(&self, path: &Path) -> Result<Artifact, ArtifactError> {
        Ok(self.keep(fs::read(path).unwrap()))
    }

    async fn get(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError> {
        let shelf = self.0.lock().unwrap();
        let content =
            shelf.get(&artifact.sha256).ok_or_else(|| ArtifactError::Missing(artifact.sha256.clone()))?;
        fs::write(to, content).map_err(|error| ArtifactError::Unavailable(error.to_string()))
    }
}

/// The same files at every commit of every repository.
struct Repositories(Vec<(PathBuf, String)>);

#[async_trait]
impl Git for Repositories {
    async fn resolve(&self, _: &Repository, branch: &BranchName) -> Result<CommitSha, GitError> {
        Err(GitError::NoBranch(branch.to_string()))
    }

    async fn checkout(&self, _: &Repository, _: &CommitSha, into: &Path) -> Result<(), GitError> {
        for (path, text) in &self.0 {
            let path = into.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Ok(())
    }
}
