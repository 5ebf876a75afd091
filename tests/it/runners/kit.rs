//! What the contract of the runners needs: a runner with a repository and a store of its own, and plans.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::build::{Peak, Phase};
use domain::ids::{BuildId, DeploymentId, EnvironmentId, EventId, ProjectId, TeamId};
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts, Removal};
use domain::ports::git::{Access, Git, GitError, KeyPair, Repository};
use domain::ports::logs::{LogStream, Output};
use domain::ports::runner::{
    BuildFailure, BuildPlan, BuildWatch, Built, Cause, Code, Runner, StartPlan, TelemetryAccess,
};
use domain::secret::Secret;
use domain::values::{BranchName, CommitSha, HealthGate, HostKey, RepoUrl, Resources};
use providers::runner::app::toolchain::Toolchains;
use providers::runner::docker::{DockerRunner, DockerRunnerConfig, PullPolicy};
use providers::runner::local::{LocalRunner, LocalRunnerConfig, ServerNetwork};
use tempfile::TempDir;
use tests::docker::{self, IMAGE};
use tokio::sync::watch;
use uuid::Uuid;

/// A provider of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Local,
    Docker,
}

/// Nothing that these tests wait for takes longer on a loaded machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// What the downloads of a team may take.
const CACHE_BYTES: u64 = 32 << 20;

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

/// A value that every careless step on its way would change.
pub(super) const ODD: &str =
    " two\nlines\twith = $HOME `id` \\ \"quotes\" 'and' ünïcödé \u{1f600} and a space ";

/// Writes a server as `mastra build` would.
pub(super) const GOOD: &str = "const fs = require('fs');
    fs.mkdirSync('.mastra/output', { recursive: true });
    fs.copyFileSync('server.mjs', '.mastra/output/index.mjs');
    console.log('built in', process.cwd());";

/// A runner whose data directory goes with it.
pub(super) struct Bench {
    pub(super) runner: Arc<dyn Runner>,
    pub(super) kind: Kind,
    pub(super) output: Arc<Recorder>,
    pub(super) dir: TempDir,
    pub(super) store: Arc<Shelf>,
    /// Where the engine is, if there is one.
    pub(super) host: String,
}

/// A build, and the ends of its watch.
pub(super) struct Watched {
    pub(super) plan: BuildPlan,
    pub(super) watch: BuildWatch,
    pub(super) cancel: watch::Sender<bool>,
    pub(super) phase: watch::Receiver<Option<Phase>>,
    pub(super) peak: watch::Receiver<Peak>,
}

impl Bench {
    pub(super) async fn start(kind: Kind) -> Self {
        Self::of(kind, &[]).await
    }

    /// Its only repository holds these files, whatever it is asked for.
    pub(super) async fn of(kind: Kind, files: &[(&str, &str)]) -> Self {
        Self::at(kind, host_of(kind).await, files).await
    }

    /// The same with another engine.
    pub(super) async fn at(kind: Kind, host: String, files: &[(&str, &str)]) -> Self {
        Self::with(kind, host, files, ("default", &ServerNetwork::default())).await
    }

    /// Its builds may reach this.
    pub(super) async fn reaching(kind: Kind, files: &[(&str, &str)], egress: &str) -> Self {
        Self::with(kind, host_of(kind).await, files, (egress, &ServerNetwork::default())).await
    }

    /// Its servers get this network.
    pub(super) async fn networked(kind: Kind, servers: &ServerNetwork) -> Self {
        Self::with(kind, host_of(kind).await, &[], ("default", servers)).await
    }

    async fn with(
        kind: Kind,
        host: String,
        files: &[(&str, &str)],
        networks: (&str, &ServerNetwork),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Shelf::default());
        let runner = open_with(kind, dir.path(), &host, files, store.clone(), networks).await;
        Self { runner, kind, output: Arc::default(), dir, store, host }
    }

    /// An app whose build is this script; it takes the machine's Node, so that nothing is fetched.
    pub(super) async fn building(kind: Kind, script: &str) -> Self {
        Self::of(kind, &app(script).each_ref().map(|(path, text)| (*path, text.as_str()))).await
    }

    /// The runner of the platform's next life: with the same data, knowing nothing of the last.
    pub(super) async fn next_life(&self) -> Arc<dyn Runner> {
        open(self.kind, self.dir.path(), &self.host, &[], self.store.clone()).await
    }

    /// A plan for a server whose only file is this one.
    pub(super) fn plan(&self, index: &str) -> StartPlan {
        plan(self.store.pack(&[("index.mjs", index)]))
    }

    pub(super) fn packed(&self) -> usize {
        self.store.0.lock().unwrap().len()
    }

    pub(super) fn watched(&self) -> Watched {
        let (phase, phases) = watch::channel(None);
        let (peak, peaks) = watch::channel(Peak::default());
        let (cancel, cancelled) = watch::channel(false);
        let output = self.output.clone();
        Watched {
            plan: build_plan(),
            watch: BuildWatch { output, phase, peak, cancel: cancelled },
            cancel,
            phase: phases,
            peak: peaks,
        }
    }

    pub(super) async fn build(&self) -> Result<Built, BuildFailure> {
        let Watched { plan, watch, cancel: _owner, .. } = self.watched();
        self.runner.build(plan, watch).await
    }

    /// Whether neither builds nor servers have left anything.
    pub(super) async fn is_clean(&self) -> bool {
        let is_empty = |name: &str| fs::read_dir(self.dir.path().join(name)).unwrap().next().is_none();
        match self.kind {
            Kind::Local => ["builds", "servers", "run"].into_iter().all(is_empty),
            Kind::Docker => {
                let left = self.left().await;
                is_empty("docker/builds") && is_empty("docker/scratch") && left.is_empty()
            }
        }
    }

    /// Containers and volumes of builds and servers at the engine.
    pub(super) async fn left(&self) -> Vec<String> {
        let instance = fs::read_to_string(self.dir.path().join("docker/instance")).unwrap();
        let ours = |path: &str| {
            let path = path.to_owned();
            async move { crate::engine_api::get(&self.host, &path).await }
        };
        let filter = format!("%7B%22label%22%3A%5B%22mastra-admin.instance%3D{instance}%22%5D%7D");
        let containers = ours(&format!("/containers/json?all=1&filters={filter}")).await;
        let volumes = ours(&format!("/volumes?filters={filter}")).await;
        let volumes = volumes["Volumes"].as_array().cloned().unwrap_or_default();
        let names = containers.as_array().cloned().unwrap_or_default().into_iter().chain(volumes);
        let owned = names.filter(|one| one["Labels"]["mastra-admin.owner"].is_string());
        owned.map(|one| one["Labels"]["mastra-admin.owner"].to_string()).collect()
    }
}

async fn host_of(kind: Kind) -> String {
    match kind {
        Kind::Local => String::new(),
        Kind::Docker => docker::engine().await.host.clone(),
    }
}

/// The files of an app whose build is this script.
pub(super) fn app(script: &str) -> [(&'static str, String); 3] {
    let node = node_version();
    let manifest = format!(
        r#"{{"name":"app","scripts":{{"build":"node build.js"}},"engines":{{"node":"{node}"}},
        "dependencies":{{"@mastra/core":"1"}}}}"#
    );
    [("package.json", manifest), ("build.js", script.to_owned()), ("server.mjs", SERVER.to_owned())]
}

/// A runner with this data directory.
pub(super) async fn open(
    kind: Kind,
    data_dir: &Path,
    host: &str,
    files: &[(&str, &str)],
    artifacts: Arc<Shelf>,
) -> Arc<dyn Runner> {
    open_with(kind, data_dir, host, files, artifacts, ("default", &ServerNetwork::default())).await
}

/// The same; its builds may reach this, and its servers get this network.
async fn open_with(
    kind: Kind,
    data_dir: &Path,
    host: &str,
    files: &[(&str, &str)],
    artifacts: Arc<Shelf>,
    (egress, servers): (&str, &ServerNetwork),
) -> Arc<dyn Runner> {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    let git = Arc::new(Repositories(files));
    let egress = egress.parse().unwrap();
    let toolchains = Toolchains::new(data_dir.join("toolchains"), None);
    let data_dir = data_dir.to_owned();
    match kind {
        Kind::Local => {
            let (bwrap, uid_base) = ("/usr/bin/bwrap".into(), 210_000);
            let config = LocalRunnerConfig {
                data_dir,
                toolchains,
                git,
                // What was uploaded lies on the same shelf.
                uploads: artifacts.clone(),
                artifacts,
                bwrap,
                egress,
                servers: servers.clone(),
                cache_bytes: CACHE_BYTES,
                uid_base,
            };
            Arc::new(LocalRunner::open(config).await.unwrap())
        }
        Kind::Docker => {
            let config = DockerRunnerConfig {
                data_dir,
                host: host.to_owned(),
                image: IMAGE.to_owned(),
                pull: PullPolicy::Never,
                platform_container: None,
                egress,
                cache_bytes: CACHE_BYTES,
                toolchains,
                git,
                uploads: artifacts.clone(),
                artifacts,
            };
            Arc::new(DockerRunner::open(config).await.unwrap())
        }
    }
}

/// A plan for a build.
pub(super) fn build_plan() -> BuildPlan {
    BuildPlan {
        build_id: BuildId(Uuid::now_v7()),
        project_id: ProjectId(Uuid::now_v7()),
        environment_id: EnvironmentId(Uuid::now_v7()),
        team_id: TeamId(Uuid::now_v7()),
        cause: cause(),
        code: Code::Commit {
            repository: Repository { url: "https://git.test/app".parse().unwrap(), access: Access::Open },
            commit: "0123456789012345678901234567890123456789".parse().unwrap(),
        },
        project_root: ".".parse().unwrap(),
        mastra_directory: "src/mastra".parse().unwrap(),
        install_command: Some("node --version".parse().unwrap()),
        build_command: None,
        env: vec![("BUILD_FLAG".parse().unwrap(), Secret::new("on"))],
        limits: Resources { memory_mib: Some(512), ..Resources::default() },
    }
}

/// A plan for a server.
pub(super) fn plan(artifact: Artifact) -> StartPlan {
    StartPlan {
        deployment_id: DeploymentId(Uuid::now_v7()),
        project_id: ProjectId(Uuid::now_v7()),
        environment_id: EnvironmentId(Uuid::now_v7()),
        team_id: TeamId(Uuid::now_v7()),
        cause: cause(),
        artifact,
        node_version: node_version(),
        env: vec![("GREETING".parse().unwrap(), Secret::new("hello"))],
        telemetry: Some(TelemetryAccess {
            url: "https://admin.example.org".to_owned(),
            token: Secret::new("the token of a deployment"),
        }),
        limits: Resources { memory_mib: Some(256), ..Resources::default() },
        replicas: 1,
        port: None,
        health: HealthGate::default(),
        start_deadline: DEADLINE,
    }
}

fn cause() -> Cause {
    Cause { event: EventId(Uuid::now_v7()), fence: 7 }
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
pub(super) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !so().await {
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

    /// Loses all that was packed.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    pub(super) fn keep(&self, content: Vec<u8>) -> Artifact {
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

    async fn remove(&self, _: &Artifact, _: std::time::SystemTime) -> Result<Removal, ArtifactError> {
        Ok(Removal::Spared)
    }

    async fn check(&self) -> Result<(), ArtifactError> {
        Ok(())
    }
}

/// No file at any commit.
pub(super) fn no_repositories() -> Arc<dyn Git> {
    Arc::new(Repositories(vec![]))
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

    async fn host_keys(&self, url: &RepoUrl) -> Result<Vec<HostKey>, GitError> {
        Err(GitError::NoAccess(url.to_string()))
    }

    fn new_deploy_key(&self) -> KeyPair {
        unreachable!("no test of a runner asks for one")
    }
}
