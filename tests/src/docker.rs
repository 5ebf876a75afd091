//! The Docker engine of a test run: one a test binary, brought up by the first test that asks, gone with it.

use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The image that the engine has: this machine's Node and npm.
pub const IMAGE: &str = "mastra-admin-test/node:host";

/// A private engine. Needs root, as dockerd does.
pub struct Engine {
    /// As `DOCKER_HOST` has it.
    pub host: String,
    script: Mutex<(Child, BufReader<ChildStdout>)>,
}

/// The engine that the tests of this binary share. One that does not start fails the test that asked; the next asks
/// anew.
pub async fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    static ASKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = ASKING.lock().await;
    match ENGINE.get() {
        Some(engine) => engine,
        None => {
            let engine =
                tokio::task::spawn_blocking(Engine::start).await.unwrap_or_else(|why| panic!("{why}"));
            ENGINE.get_or_init(|| engine)
        }
    }
}

impl Engine {
    /// What a platform is told so that it builds and runs here.
    pub fn settings(&self) -> [(&'static str, &str); 4] {
        [
            ("MASTRA_ADMIN_RUNNER", "docker"),
            ("MASTRA_ADMIN_DOCKER_HOST", &self.host),
            ("MASTRA_ADMIN_DOCKER_IMAGE", IMAGE),
            ("MASTRA_ADMIN_DOCKER_PULL", "never"),
        ]
    }

    /// One more, for a test that takes it away. It ends when this process does, however it does: the script that
    /// runs it reads from us. An engine shares the firewall and the routes of the machine with every other, and on a
    /// busy one may lose a race for them: what did not start is tried anew.
    pub fn start() -> Self {
        let mut why = String::new();
        for _ in 0..3 {
            match Self::try_start() {
                Ok(engine) => return engine,
                Err(said) => why.push_str(&said),
            }
        }
        panic!("the Docker engine does not start:\n{why}");
    }

    /// An engine, or what its script said instead.
    fn try_start() -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("mastra-admin-docker-").tempdir();
        let dir = dir.expect("the temp dir can be written to").keep();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/docker/engine.sh");
        let mut said = tempfile::tempfile().expect("the temp dir can be written to");
        let mut child = Command::new("/bin/bash")
            .arg(script)
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said.try_clone().expect("a file can be shared"))
            .spawn()
            .expect("there is a /bin/bash");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("the script can be heard");
        if let Some(host) = line.trim().strip_prefix("READY ") {
            return Ok(Self { host: host.to_owned(), script: Mutex::new((child, lines)) });
        }
        let ended = child.wait();
        let mut text = String::new();
        said.rewind().and_then(|()| said.read_to_string(&mut text)).expect("the file can be read");
        Err(format!("{text}{ended:?}\n"))
    }

    /// Tells the script: `kill`, `start`, `freeze` or `thaw` the engine. Returns when it is done.
    pub fn tell(&self, word: &str) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let (child, lines) = &mut *script;
        let stdin = child.stdin.as_mut().expect("it was asked for");
        writeln!(stdin, "{word}").expect("the script listens");
        let mut line = String::new();
        lines.read_line(&mut line).expect("the script can be heard");
        assert_eq!(line.trim(), format!("DONE {word}"));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        drop(script.0.stdin.take());
        let _gone = script.0.wait();
    }
}
