//! Programs in Python that others wrote, each in a virtual environment of its own beside the target directory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::app::program;

/// One is made at a time.
static MAKING: Mutex<()> = Mutex::const_new(());

/// The `bin` of the environment with what `tests/peers/{peer}/requirements.txt` names; the first time, and after that
/// file has changed, pip brings it.
pub async fn environment(peer: &str) -> PathBuf {
    let _one = MAKING.lock().await;
    let wanted = peers().join(peer).join("requirements.txt");
    let text = std::fs::read_to_string(&wanted).expect("it is in the repository");
    let folder = program("test-peers").join(peer);
    let (bin, done) = (folder.join("bin"), folder.join("installed"));
    if std::fs::read_to_string(&done).is_ok_and(|done| done == text) {
        return bin;
    }
    std::fs::create_dir_all(&folder).expect("it can be made");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).await;
    let mut pip = Command::new(bin.join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(wanted);
    // Half a gigabyte of what is not used would come along.
    if text.lines().any(|line| line == "# alone") {
        pip.arg("--no-deps");
    }
    run(&mut pip).await;
    std::fs::write(done, text).expect("it can be written");
    bin
}

/// Starts a peer's program in its environment; what it says behind `READY `. It ends when the child is dropped.
pub async fn start(peer: &str, program: &str, arguments: &[&OsStr]) -> (Child, String) {
    let mut child = Command::new(environment(peer).await.join("python"))
        .arg(peers().join(peer).join(program))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("python is installed");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    let line = tokio::time::timeout(Duration::from_secs(120), lines.next_line()).await;
    let line = line.expect("it starts in time").expect("it can be read").expect("it says where it is");
    let told = line.strip_prefix("READY ").expect("it is ready").to_owned();
    (child, told)
}

/// A program that answers every line with a line. Dropping it kills it.
pub struct Oracle {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Oracle {
    /// Starts a peer's program in its environment.
    pub async fn start(peer: &str, program: &str) -> Self {
        let mut child = Command::new(environment(peer).await.join("python"))
            .arg(peers().join(peer).join(program))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 is installed");
        let stdin = child.stdin.take().expect("it was asked for");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        Self { stdin, lines, _child: child }
    }

    /// Its answer to a question.
    pub async fn ask(&mut self, question: &Value) -> String {
        self.stdin.write_all(format!("{question}\n").as_bytes()).await.expect("it reads");
        let answer = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        answer.expect("it answers in time").expect("it writes").expect("it lives")
    }
}

/// Where the programs of the peers are.
pub fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

async fn run(command: &mut Command) {
    let done = command.stdin(Stdio::null()).status().await.expect("python3 is installed");
    assert!(done.success(), "{command:?} failed");
}
