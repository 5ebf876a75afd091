//! Programs for Node that use what others wrote, each with its own packages beside the target directory.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::app::program;
use crate::mastra_cli;
use crate::python::peers;

/// One is made at a time.
static MAKING: Mutex<()> = Mutex::const_new(());

/// The folder with a peer's programs and what its `package.json` names; the first time, and after that file has changed, npm
/// brings it.
async fn folder(peer: &str) -> PathBuf {
    let _one = MAKING.lock().await;
    let (source, folder) = (peers().join(peer), program("test-peers").join(peer));
    let text = std::fs::read_to_string(source.join("package.json")).expect("it is in the repository");
    let done = folder.join("installed");
    std::fs::create_dir_all(&folder).expect("it can be made");
    if std::fs::read_to_string(&done).is_ok_and(|done| done == text) {
        return folder;
    }
    std::fs::write(folder.join("package.json"), &text).expect("it can be written");
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
    let installed = npm.current_dir(&folder).status().await.expect("npm is installed");
    assert!(installed.success(), "npm could not install what {peer} needs");
    std::fs::write(done, text).expect("it can be written");
    folder
}

/// Runs a peer's program to its end; what it says behind `READY `.
pub async fn run(peer: &str, name: &str, arguments: &[&str]) -> String {
    let folder = folder(peer).await;
    std::fs::copy(peers().join(peer).join(name), folder.join(name)).expect("it can be copied");
    said(Command::new("node").arg(name).args(arguments).current_dir(folder)).await
}

/// Has the agent of the Mastra project `single` answer once and fail once, with the packages that the project names and
/// nothing but this in its environment; what it says behind `READY `.
pub async fn mastra_agent(environment: &[(&str, &str)]) -> String {
    let (_run, mut agent) = agent("agent.mjs", environment).await;
    said(&mut agent).await
}

/// The same agent under a program of ours that says more than once that it is ready.
pub struct Told {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
    _run: TempDir,
}

impl Told {
    /// Starts it.
    pub async fn start(script: &str, environment: &[(&str, &str)]) -> Self {
        let (run, mut agent) = agent(script, environment).await;
        let mut child =
            agent.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        Self { lines, _child: child, _run: run }
    }

    /// What it says next behind `READY `.
    pub async fn next(&mut self) -> String {
        let mut before = String::new();
        while let Some(line) = self.lines.next_line().await.expect("it can be read") {
            if let Some(told) = line.strip_prefix("READY ") {
                return told.to_owned();
            }
            before = before + &line + "\n";
        }
        panic!("it was not ready: {before}");
    }
}

/// The Mastra project `single` as one file in a folder of its own, and a program that runs it there.
async fn agent(script: &str, environment: &[(&str, &str)]) -> (TempDir, Command) {
    let (project, node) = mastra_cli::project().await;
    let run = tempfile::tempdir().expect("a temporary directory");
    crate::repository::lay(run.path(), "single");
    std::os::unix::fs::symlink(project.join("node_modules"), run.path().join("node_modules"))
        .expect("it can be linked");
    let mut bundle = Command::new(project.join("node_modules/.bin/esbuild"));
    bundle.args([
        "src/mastra/index.ts",
        "--bundle",
        "--packages=external",
        "--format=esm",
        "--platform=node",
    ]);
    bundle.args(["--outfile=mastra.mjs", "--log-level=warning"]).current_dir(run.path());
    assert!(bundle.status().await.expect("it is installed").success(), "the project could not be bundled");
    std::fs::copy(peers().join("mastra").join(script), run.path().join(script)).expect("it can be copied");
    let mut agent = Command::new(node);
    agent.arg(script).current_dir(run.path()).env_clear().env("MASTRA_TELEMETRY_DISABLED", "1");
    agent.envs(environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    (run, agent)
}

async fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("node is installed");
    let [out, error] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let told = out.lines().find_map(|line| line.strip_prefix("READY "));
    told.unwrap_or_else(|| panic!("it was not ready: {out}{error}")).to_owned()
}
