//! The ClickHouse engine (PyPI `chdb-core`) behind an HTTP front, in a process of its own; or the server that
//! `CLICKHOUSE_URL` names, where a test only needs some.

use std::ffi::OsStr;

use domain::secret::Secret;
use providers::observability::clickhouse::{ClickHouseStore, Target};
use tempfile::TempDir;
use tokio::process::Child;
use uuid::Uuid;

use crate::python;

/// Who asks.
const USER: &str = "telemetry";
/// What opens it. Nobody may show it.
pub const PASSWORD: &str = "open-sesame-8123";

/// A database of its own in an engine. Dropping it kills the engine.
pub struct ClickHouse {
    /// Where it is, with the name of the database.
    pub url: String,
    login: Option<(&'static str, &'static str)>,
    own: Option<Own>,
}

/// The process.
struct Own {
    data: TempDir,
    port: String,
    child: Option<Child>,
}

impl ClickHouse {
    /// Some engine.
    pub async fn some() -> Self {
        let Ok(url) = std::env::var("CLICKHOUSE_URL") else { return Self::start().await };
        Self { url: format!("{}/{}", url.trim_end_matches('/'), name()), login: None, own: None }
    }

    /// One that can be killed; the first time, pip brings what it needs.
    pub async fn start() -> Self {
        let mut own = Own {
            data: tempfile::tempdir().expect("a temporary directory"),
            port: "0".to_owned(),
            child: None,
        };
        own.start().await;
        let url = format!("http://127.0.0.1:{}/{}", own.port, name());
        Self { url, login: Some((USER, PASSWORD)), own: Some(own) }
    }

    /// Kills it as a power cut of its process would.
    pub async fn kill(&mut self) {
        let own = self.own.as_mut().expect("it is ours");
        own.child.take().expect("it runs").kill().await.expect("it can be killed");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        let own = self.own.as_ref().expect("it is ours");
        own.child.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Starts it again where it was, on its data.
    pub async fn start_again(&mut self) {
        self.own.as_mut().expect("it is ours").start().await;
    }

    /// Where it is, as the platform takes it.
    pub fn target(&self) -> Target {
        let (user, password) =
            self.login.map(|(user, password)| (Secret::new(user), Secret::new(password))).unzip();
        Target::try_new(&Secret::new(self.url.as_str()), user, password).expect("it is an address")
    }

    /// A store in it.
    pub fn store(&self, days: u32) -> ClickHouseStore {
        ClickHouseStore::start(self.target(), days)
    }

    /// Settings of a platform that keeps its telemetry here.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        let login = self.login.into_iter();
        let login =
            login.flat_map(|(user, password)| [("CLICKHOUSE_USER", user), ("CLICKHOUSE_PASSWORD", password)]);
        login.chain([("CLICKHOUSE_URL", self.url.as_str())]).collect()
    }

    /// What it answers to a statement.
    pub async fn ask(&self, sql: &str) -> String {
        String::from_utf8(self.bytes(sql, vec![]).await).expect("it is text").trim_end().to_owned()
    }

    /// What it answers to a statement, or to one that stores these rows, byte by byte.
    pub async fn bytes(&self, sql: &str, rows: Vec<u8>) -> Vec<u8> {
        let (base, database) = self.url.rsplit_once('/').expect("it names a database");
        let request = reqwest::Client::new().post(base).query(&[("database", database)]);
        let mut request = match rows {
            rows if rows.is_empty() => request.body(sql.to_owned()),
            rows => request.query(&[("query", sql)]).body(rows),
        };
        if let Some((user, password)) = self.login {
            request = request.header("x-clickhouse-user", user).header("x-clickhouse-key", password);
        }
        let answer = request.send().await.expect("it is there");
        let (status, bytes) = (answer.status(), answer.bytes().await.expect("it answers"));
        assert!(status.is_success(), "{sql}: {}", String::from_utf8_lossy(&bytes));
        bytes.into()
    }

    /// The columns of a table that take values, but for some, as a list of SQL.
    pub async fn columns(&self, table: &str, but: &[&str]) -> String {
        let sql = format!(
            "SELECT name FROM system.columns
              WHERE database = currentDatabase() AND table = '{table}' AND default_kind = '' ORDER BY position"
        );
        let columns = self.ask(&sql).await;
        columns.lines().filter(|name| !but.contains(name)).collect::<Vec<_>>().join(", ")
    }

    /// How many rows of tables all questions have read so far. Only one of ours says so.
    pub async fn rows_read(&self) -> u64 {
        let (base, _) = self.url.rsplit_once('/').expect("it names a database");
        let answer = reqwest::get(format!("{base}/rows-read")).await.expect("it is there");
        answer.text().await.expect("it answers").trim().parse().expect("a number")
    }
}

impl Own {
    async fn start(&mut self) {
        let data = self.data.path().join("db");
        let words = [&self.port, "--user", USER, "--password", PASSWORD].map(OsStr::new);
        let words = [&[OsStr::new("--data"), data.as_os_str(), OsStr::new("--port")], &words[..]].concat();
        let (child, told) = python::start("clickhouse", "server.py", &words).await;
        let url = told.split_whitespace().next().expect("it says where it is");
        self.port = url.rsplit(':').next().expect("a port").to_owned();
        self.child = Some(child);
    }
}

fn name() -> String {
    format!("it_{}", Uuid::now_v7().simple())
}
