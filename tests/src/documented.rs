//! Programs that the documentation shows, run word by word as they stand there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::app::program;
use crate::python;

/// One that runs. Dropping it kills it.
pub struct Documented {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Documented {
    /// The one for Node, at a port; the first time, npm brings what it needs.
    pub async fn node(port: u16, secret: &str) -> Self {
        let folder = folder();
        if !folder.join("node_modules/standardwebhooks").is_dir() {
            std::fs::copy(python::peers().join("receivers/package.json"), folder.join("package.json"))
                .expect("it is in the repository");
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
            let done = npm.current_dir(&folder).status().await.expect("npm is installed");
            assert!(done.success(), "npm could not install what the documentation names");
        }
        std::fs::write(folder.join("receiver.mjs"), snippet("js")).expect("it can be written");
        let mut node = Command::new("node");
        Self::start(node.arg("receiver.mjs").env("PORT", port.to_string()).current_dir(folder), port, secret)
            .await
    }

    /// The one for Python, at a port; the first time, pip brings what it needs.
    pub async fn python(port: u16, secret: &str) -> Self {
        let bin = python::environment("receivers").await;
        std::fs::write(folder().join("hook.py"), snippet("python")).expect("it can be written");
        let mut flask = Command::new(bin.join("flask"));
        flask.args(["--app", "hook", "run", "--port", &port.to_string()]).env("PYTHONUNBUFFERED", "1");
        Self::start(flask.current_dir(folder()), port, secret).await
    }

    async fn start(command: &mut Command, port: u16, secret: &str) -> Self {
        let mut child = command
            .env("WEBHOOK_SECRET", secret)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it is installed");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let begin = std::time::Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "what the documentation shows never listens");
            assert!(child.try_wait().expect("it is ours").is_none(), "what the documentation shows ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { lines, _child: child }
    }

    /// The next line that it says with this in it.
    pub async fn says(&mut self, part: &str) -> String {
        let found = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let line = self.lines.next_line().await.expect("it can be read").expect("it lives");
                if line.contains(part) {
                    break line;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("it never said {part}"))
    }
}

/// The first program of a language in the document.
fn snippet(language: &str) -> String {
    snippets("webhooks.md", language).into_iter().next().expect("it shows one")
}

/// All programs of a language in a document.
pub fn snippets(document: &str, language: &str) -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = std::fs::read_to_string(document).expect("it is in the repository");
    let begin = format!("\n```{language}\n");
    let shown = text.split(&begin).skip(1);
    shown.map(|rest| rest.split_once("\n```\n").expect("it ends").0.to_owned() + "\n").collect()
}

/// Beside the environment for Python, which is made anew at times.
fn folder() -> PathBuf {
    let folder = program("test-peers").join("documented");
    std::fs::create_dir_all(&folder).expect("it can be made");
    folder
}
