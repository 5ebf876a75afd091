//! The whole platform: the real program on a database of its own, driven over HTTP.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::postgres::{Template, TestDb};
use crate::wire::Wire;

static MIGRATED: Template = Template::new("app");

/// Address of the first user.
pub const OWNER: &str = "owner@example.org";
/// Password of the first user and of everybody whom tests make.
pub const PASSWORD: &str = "correct horse battery staple";

/// A running platform. Dropping it kills it.
pub struct TestApp {
    /// Its database.
    pub db: TestDb,
    /// Its data and repositories.
    pub dir: TempDir,
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
    child: Child,
    said: String,
    extra: Vec<(String, String)>,
}

/// One more server process on the same database, as a second machine would run it. Dropping it kills it.
pub struct Another {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
    /// Its data.
    pub dir: TempDir,
    /// The process.
    pub child: Child,
}

impl TestApp {
    /// Starts it with a first user.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it with more environment variables.
    pub async fn start_with(extra: &[(&str, &str)]) -> Self {
        Self::start_on(Self::database().await, extra).await
    }

    /// Starts it so that all it says to PostgreSQL goes over a wire.
    pub async fn start_behind(wire: &Wire) -> Self {
        let db = Self::database().await;
        let url = wire.url(&db);
        Self::start_on(db, &[("DATABASE_URL", &url)]).await
    }

    /// A migrated database that no server runs on yet.
    pub async fn database() -> TestDb {
        TestDb::create(&MIGRATED, crate::tape::migrate).await
    }

    /// Starts it on a database that is there.
    pub async fn start_on(db: TestDb, extra: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let extra: Vec<_> = extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (child, url, said) = spawn(&db, dir.path(), &extra).await;
        Self { db, dir, url, child, said, extra }
    }

    /// Kills it as a power cut would, and starts it again on the same database and data.
    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        (self.child, self.url, self.said) = spawn(&self.db, self.dir.path(), &self.extra).await;
    }

    /// Kills it and starts it on another database, with the data it has.
    pub async fn move_to(&mut self, db: TestDb) {
        self.kill().await;
        self.db = db;
        (self.child, self.url, self.said) = spawn(&self.db, self.dir.path(), &self.extra).await;
    }

    /// Kills it and starts it with other environment variables, on the data it has.
    pub async fn restart_with(&mut self, extra: &[(&str, &str)]) {
        self.kill().await;
        self.extra = extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        (self.child, self.url, self.said) = spawn(&self.db, self.dir.path(), &self.extra).await;
    }

    /// Kills it as a power cut would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Starts one more server process on the same database, with the same master key and data of its own.
    pub async fn another(&self) -> Another {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (ours, its) = (self.dir.path().join("data"), dir.path().join("data"));
        std::fs::create_dir(&its).expect("it can be made");
        std::fs::copy(ours.join("master.key"), its.join("master.key")).expect("the first server has a key");
        // Either of them sends a mail.
        let outbox = self.dir.path().join("mail").to_string_lossy().into_owned();
        // Either of them builds.
        let repositories = self.repositories().to_string_lossy().into_owned();
        let mut extra = vec![
            ("MASTRA_ADMIN_MAIL_OUTBOX".to_owned(), outbox),
            ("MASTRA_ADMIN_ALLOW_LOCAL_REPOS".to_owned(), repositories),
        ];
        extra.extend(self.extra.iter().cloned());
        let (child, url, _) = spawn(&self.db, dir.path(), &extra).await;
        Another { url, dir, child }
    }

    /// Sends the server a signal, by its name: `STOP`, `CONT`.
    pub async fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.args([format!("-{name}"), self.pid().to_string()]).status().await;
        assert!(sent.expect("there is a kill").success());
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What the server said on its standard output before it was ready.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// What the server has written to its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// The end of it: what fits into the report of a failed test beside its own words.
    pub fn end_of_log(&self) -> String {
        end_of(&self.log())
    }

    /// Somebody who is not signed in.
    pub fn nobody(&self) -> Client {
        Client::new(&self.url)
    }

    /// The first user, signed in.
    pub async fn owner(&self) -> Client {
        self.sign_in(OWNER).await
    }

    /// A user, signed in.
    pub async fn sign_in(&self, email: &str) -> Client {
        let nobody = self.nobody();
        let answer = nobody.post("/auth/login", json!({ "email": email, "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        nobody.with_token(answer.body["token"].as_str().expect("a token"))
    }

    /// A git repository below the allowed root, with the files of a fixture; answers its URL.
    pub fn repository(&self, fixture: &str, name: &str) -> String {
        let path = self.repositories().join(name);
        crate::repository::create(fixture, &path);
        format!("file://{}", path.display())
    }

    /// The root that the operator allows for `file://` repositories.
    pub fn repositories(&self) -> PathBuf {
        self.dir.path().join("repositories")
    }

    /// What waits for its time in a process is due; waits until there is something that waits.
    pub async fn hasten(&self, process: &str) {
        let due = "UPDATE work SET run_at = now() WHERE process = $1 AND state = 'ready'";
        self.wait_until(&format!("something of {process} waits"), Duration::from_secs(30), async || {
            let made = sqlx::query(due).bind(process).execute(self.db.pool()).await;
            made.expect("the database answers").rows_affected() > 0
        })
        .await;
    }

    /// Waits until the query tables and processes know all that is in the log now.
    pub async fn caught_up(&self) {
        let head = "SELECT position FROM log_head";
        let head: i64 =
            sqlx::query_scalar(head).fetch_one(self.db.pool()).await.expect("the database answers");
        let known = "SELECT NOT EXISTS (SELECT FROM consumers WHERE position < $1)";
        self.wait_until("all that is in the log is known", Duration::from_secs(60), async || {
            let known = sqlx::query_scalar(known).bind(head).fetch_one(self.db.pool());
            known.await.expect("the database answers")
        })
        .await;
    }

    /// Waits until the query tables, processes and due work have nothing more to do.
    pub async fn settle(&self) {
        self.settle_in(self.db.pool()).await;
    }

    /// The same in a database that is not its own.
    pub async fn settle_in(&self, db: &PgPool) {
        let settled =
            "SELECT NOT EXISTS (SELECT FROM consumers WHERE position < (SELECT position FROM log_head))
                          AND NOT EXISTS (SELECT FROM work WHERE state = 'running'
                                              OR (state = 'ready' AND run_at <= now()))";
        self.wait_until("everything has settled", Duration::from_secs(300), async || {
            sqlx::query_scalar(settled).fetch_one(db).await.expect("the database answers")
        })
        .await;
    }

    /// Waits for a condition.
    pub async fn wait_until(&self, what: &str, patience: Duration, mut met: impl AsyncFnMut() -> bool) {
        let start = Instant::now();
        while !met().await {
            assert!(
                start.elapsed() < patience,
                "waited {patience:?} until {what}; the server says:\n{}",
                self.end_of_log()
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Polls a resource until its status is one of these; answers it.
    pub async fn until_status(&self, client: &Client, path: &str, statuses: &[&str]) -> Value {
        let start = Instant::now();
        loop {
            let answer = client.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            if statuses.contains(&answer.body["status"].as_str().unwrap_or_default()) {
                return answer.body;
            }
            assert!(
                start.elapsed() < Duration::from_secs(600),
                "{path} never became {statuses:?}: {}; the server says:\n{}",
                answer.body,
                self.end_of_log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // SIGKILL: what the server started dies with it.
        let _ = self.child.start_kill();
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "what a failed test needs to be understood")]
            {
                eprintln!("--- the end of the server's log\n{}", self.end_of_log());
            }
        }
    }
}

async fn spawn(db: &TestDb, dir: &Path, extra: &[(String, String)]) -> (Child, String, String) {
    let repositories = dir.join("repositories");
    std::fs::create_dir_all(&repositories).expect("it can be made");
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("server.log"))
        .expect("the log can be opened");
    let mut child = Command::new(program("mastra-admin"))
        .arg("serve")
        .args(["--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .env("DATABASE_URL", db.url())
        .env("MASTRA_ADMIN_ALLOW_LOCAL_REPOS", &repositories)
        .env("MASTRA_ADMIN_OWNER_EMAIL", OWNER)
        .env("MASTRA_ADMIN_OWNER_PASSWORD", PASSWORD)
        .env("MASTRA_ADMIN_MAIL_OUTBOX", dir.join("mail"))
        // Node is fetched once for all tests.
        .env("MASTRA_ADMIN_TOOLCHAINS_DIR", program("test-toolchains"))
        .envs(extra.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts; `cargo build --bins` makes it");
    let stdout = child.stdout.take().expect("it was asked for");
    let mut lines = BufReader::new(stdout).lines();
    let mut before = String::new();
    let url = loop {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            let said = std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            panic!("the server did not come up:\n{}", end_of(&said));
        };
        if let Some(url) = line.strip_prefix("listening on ") {
            break url.to_owned();
        }
        before.push_str(&line);
        before.push('\n');
    };
    // Nobody reads on; a full pipe would stop the server.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, url, before)
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(25).collect();
    lines.into_iter().rev().map(|line| line.chars().take(250).collect::<String>() + "\n").collect()
}

/// One of our programs, beside the tests in the target directory.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let target = test.parent().and_then(Path::parent).expect("tests are in deps/");
    target.join(name)
}
