//! The platform under siege, with a PostgreSQL that can be taken from it and a clock that can be put.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use providers::database::embedded::{Embedded, EmbeddedConfig};
use serde_json::json;
use sqlx::PgPool;
use tempfile::TempDir;
use tests::app::TestApp;
use tests::world::{Project, project, team};
use tokio::sync::watch;

use super::people::Door;

/// Debian's `faketime`: the program that loads it has the clock that a file says.
const OTHER_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A PostgreSQL of its own, durable, that outlives the server.
pub(crate) struct Database {
    dir: PathBuf,
    running: Option<Embedded>,
    /// Connections to it.
    pub(crate) pool: PgPool,
    /// Its URL; the same after a restart.
    pub(crate) url: String,
}

impl Database {
    async fn start(dir: PathBuf) -> Self {
        let running = bring_up(&dir).await;
        let url = running.url();
        let pool = projections::pool::connect(&url, 4).await.unwrap();
        commands::migrate(&pool).await.unwrap();
        Self { dir, running: Some(running), pool, url }
    }

    /// Every process of it ends at once, whatever it has in hand; then it starts again.
    pub(crate) async fn stop_at_once(&mut self) {
        let pid_file = std::fs::read_to_string(self.dir.join("postgres/postmaster.pid")).unwrap();
        let kill = Command::new("kill").args(["-QUIT", pid_file.lines().next().unwrap().trim()]).status();
        assert!(kill.unwrap().success());
        self.running.take().expect("it runs").crashed().await;
        self.running = Some(bring_up(&self.dir).await);
    }
}

async fn bring_up(dir: &Path) -> Embedded {
    let config = EmbeddedConfig { data_dir: dir.to_owned(), bin_dir: None, durable: true };
    Embedded::start(config).await.unwrap()
}

/// A platform to which things are done.
pub(crate) struct Besieged {
    pub(crate) database: Database,
    app: TestApp,
    token: String,
    url: watch::Sender<String>,
    clock: PathBuf,
    _place: TempDir,
}

impl Besieged {
    pub(crate) async fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let database = Database::start(place.path().join("database")).await;
        let clock = place.path().join("clock");
        put(&clock, 0);
        assert!(
            Path::new(OTHER_CLOCK).exists(),
            "it is missing: run scripts/install-system-packages --tests"
        );
        let environment = [
            ("DATABASE_URL", database.url.as_str()),
            ("LD_PRELOAD", OTHER_CLOCK),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
        ];
        let app = TestApp::start_on(TestApp::database().await, &environment).await;
        let token = app.owner().await.token().unwrap().to_owned();
        let (url, _) = watch::channel(app.url.clone());
        Self { database, app, token, url, clock, _place: place }
    }

    /// A team for each writer, a team with a project for each builder.
    pub(crate) async fn settle_in(&self, writers: usize, builders: usize) -> Vec<Project> {
        let owner = self.app.nobody().with_token(&self.token);
        for n in 0..writers {
            team(&owner, &format!("writer-{n}")).await;
        }
        let repository = self.app.repository("tiny", "tiny");
        let mut projects = Vec::new();
        for n in 0..builders {
            let name = format!("builder-{n}");
            team(&owner, &name).await;
            projects.push(project(&owner, &name, "agent", &repository, json!({})).await);
        }
        projects
    }

    pub(crate) fn door(&self) -> Door {
        Door { url: self.url.subscribe(), token: self.token.clone() }
    }

    /// Puts the server's clock so many seconds before or behind the machine's.
    pub(crate) fn put_clock(&self, seconds: i64) {
        put(&self.clock, seconds);
    }

    pub(crate) async fn kill_and_restart(&mut self) {
        self.app.kill_and_restart().await;
        self.url.send_replace(self.app.url.clone());
    }

    /// Waits until the query tables, processes and due work have nothing more to do.
    pub(crate) async fn settle(&self) {
        self.app.settle_in(&self.database.pool).await;
    }

    /// Waits for a condition.
    pub(crate) async fn wait_until(&self, what: &str, met: impl AsyncFnMut() -> bool) {
        self.app.wait_until(what, Duration::from_secs(60), met).await;
    }
}

fn put(clock: &Path, seconds: i64) {
    let new = clock.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}s\n")).unwrap();
    std::fs::rename(new, clock).unwrap();
}
