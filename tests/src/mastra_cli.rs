//! The stock `mastra` command line, as npm has it, with the Node it asks for and a real project.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::app::{TestApp, program};

/// The Node that runs it.
const NODE: &str = "22.23.3";

static INSTALLED: OnceCell<()> = OnceCell::const_new();
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What it said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output and error.
    pub text: String,
}

/// The command line with a home of its own.
pub struct MastraCli {
    home: TempDir,
    settings: Vec<(String, String)>,
}

impl MastraCli {
    /// Pointed at a platform; the first time, npm brings what it needs.
    pub async fn of(app: &TestApp) -> Self {
        INSTALLED.get_or_init(install).await;
        let settings = vec![("MASTRA_PLATFORM_API_URL".to_owned(), app.url.clone())];
        Self { home: tempfile::tempdir().expect("a temporary directory"), settings }
    }

    /// With one more environment variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it to its end in a directory.
    pub async fn run(&self, dir: &Path, args: &[&str]) -> Said {
        let output = self.command(dir, args).output();
        let output = tokio::time::timeout(Duration::from_secs(500), output).await;
        let output = output.expect("it ends in time").expect("it starts");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Said { code: output.status.code(), text: text.concat() }
    }

    /// Starts it, and reads what it says until a line has this in it; answers that line.
    pub async fn until(&self, dir: &Path, args: &[&str], sign: &str) -> (Child, String) {
        let mut child = self.command(dir, args).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut lines = BufReader::new(stdout).lines();
        let found = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let line = lines.next_line().await.expect("it can be read").expect("it says that");
                if line.contains(sign) {
                    break line;
                }
            }
        });
        let found = found.await.expect("it says that in time");
        // Nobody reads on; a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (child, found)
    }

    fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let folder = folder();
        let node = folder.join("node/node_modules").join(node_package()).join("bin");
        let path = format!("{}:{}", node.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(node.join("node"));
        command
            .arg(folder.join("project/node_modules/mastra/dist/index.js"))
            .args(args)
            .current_dir(dir)
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("MASTRA_TELEMETRY_DISABLED", "1")
            .env("CI", "1")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// The fixture `single`, installed, as a developer has it; nobody else uses it meanwhile.
pub async fn real_project() -> (PathBuf, MutexGuard<'static, ()>) {
    INSTALLED.get_or_init(install).await;
    let turn = ONE_AT_A_TIME.lock().await;
    let project = folder().join("project");
    for left in [".mastra-project.json", ".env", ".env.production"] {
        let _not_there = std::fs::remove_file(project.join(left));
    }
    crate::repository::lay(&project, "single");
    (project, turn)
}

/// The fixture `tiny` as `mastra build` would have left it, in an existing directory.
pub fn built_tiny(dir: &Path, behaviour: &str) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny");
    let output = dir.join(".mastra/output");
    std::fs::create_dir_all(&output).expect("it can be made");
    std::fs::copy(fixture.join("package.json"), dir.join("package.json")).expect("it can be copied");
    std::fs::copy(fixture.join("server.mjs"), output.join("index.mjs")).expect("it can be copied");
    std::fs::write(output.join("behaviour.json"), behaviour).expect("it can be written");
    let manifest = r#"{ "name": "server", "version": "1.0.0", "private": true, "type": "module",
                        "engines": { "node": ">=18" } }"#;
    std::fs::write(output.join("package.json"), manifest).expect("it can be written");
}

/// The project with its packages, and the Node that runs it.
pub(crate) async fn project() -> (PathBuf, PathBuf) {
    INSTALLED.get_or_init(install).await;
    (folder().join("project"), folder().join("node/node_modules").join(node_package()).join("bin/node"))
}

fn folder() -> PathBuf {
    program("test-peers").join("mastra-cli")
}

fn node_package() -> String {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    format!("node-linux-{arch}")
}

async fn install() {
    let (project, node) = (folder().join("project"), folder().join("node"));
    for dir in [&project, &node] {
        std::fs::create_dir_all(dir).expect("it can be made");
    }
    crate::repository::lay(&project, "single");
    if !project.join("node_modules/mastra/dist/index.js").is_file() {
        npm(&project, &["ci", "--ignore-scripts"]).await;
    }
    if !node.join("node_modules").join(node_package()).join("bin/node").is_file() {
        let package = format!("{}@{NODE}", node_package());
        npm(&node, &["install", "--no-save", "--prefix", ".", &package]).await;
    }
}

async fn npm(dir: &Path, args: &[&str]) {
    let mut npm = Command::new("npm");
    npm.args(args).args(["--no-audit", "--no-fund", "--loglevel=error"]).current_dir(dir);
    let done = npm.status().await.expect("npm is installed");
    assert!(done.success(), "npm {args:?} failed in {}", dir.display());
}
