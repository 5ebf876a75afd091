//! The PostgreSQL of a test run: one cluster a test binary, brought up by the first test that asks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use providers::database::embedded::{Embedded, EmbeddedConfig, stop_leftover};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::runtime::{Builder, Runtime};

/// How a data dir of a test run begins; what follows is random.
const PREFIX: &str = "mastra-admin-tests-";

/// Ends the server and removes its files once nobody holds the other end of standard input any more, which is when
/// the test process has ended, however it did. Statics are never dropped, and a killed process drops nothing.
const WHEN_WE_END: &str = r#"
    read -r _
    pid=$(head -n 1 "$1/postgres/postmaster.pid")
    kill -QUIT "$pid"
    while [ -e "$1/postgres/postmaster.pid" ] && kill -0 "$pid"; do sleep 0.05; done
    rm -rf "$1"
"#;

/// A running cluster. It outlives every test's own runtime: it has one for itself.
pub struct Cluster {
    runtime: Runtime,
    options: PgConnectOptions,
    admin: PgPool,
    _server: Embedded,
}

/// The cluster of this test binary, brought up by the first who asks, in about a second.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::start);
    let started = tokio::task::spawn_blocking(|| &*CLUSTER); // which may wait for a runtime, as a test may not
    started.await.expect("its panic is printed above: PostgreSQL did not start")
}

impl Cluster {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread and a few file descriptors are to be had");
        let data_dir =
            tempfile::Builder::new().prefix(PREFIX).tempdir().expect("the temp dir can be written to");
        let (server, admin, options) = runtime.block_on(async {
            remove_leftovers(data_dir.path()).await;
            let config =
                EmbeddedConfig { data_dir: data_dir.path().to_owned(), bin_dir: None, durable: false };
            let server = Embedded::start(config).await.unwrap_or_else(|error| panic!("{error}"));
            let options: PgConnectOptions = server.url().parse().expect("sqlx reads the URLs we write");
            let admin = PgPoolOptions::new().max_connections(4).connect_lazy_with(options.clone());
            (server, admin, options)
        });
        clean_up_when_we_end(&data_dir.keep());
        Self { runtime, options, admin, _server: server }
    }

    /// How to connect to a database of the cluster.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        self.options.clone().database(database)
    }

    /// Runs statements outside of any test's database. Names in them are ours, never input.
    pub async fn run(&'static self, statements: &[String]) -> sqlx::Result<()> {
        let (admin, statements) = (self.admin.clone(), statements.to_vec());
        // Connections belong to the runtime they were opened in; a test's own may be gone before the next test.
        let done = self.runtime.spawn(async move {
            for statement in &statements {
                sqlx::raw_sql(statement).execute(&admin).await?;
            }
            Ok(())
        });
        done.await.expect("it does not panic")
    }

    /// As `run`, without waiting: for `drop`. What is not done when the process ends goes with the cluster.
    pub fn run_later(&'static self, statements: &[String]) {
        let (admin, statements) = (self.admin.clone(), statements.to_vec());
        self.runtime.spawn(async move {
            for statement in &statements {
                let _best_effort = sqlx::raw_sql(statement).execute(&admin).await;
            }
        });
    }
}

fn clean_up_when_we_end(data_dir: &Path) {
    let mut watcher = Command::new("/bin/sh");
    watcher.args(["-c", WHEN_WE_END, "sh"]).arg(data_dir);
    watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    watcher.process_group(0); // a Ctrl-C is for the tests; it still has work to do then
    let watcher = watcher.spawn().expect("there is a /bin/sh");
    std::mem::forget(watcher); // with our end of its standard input, which only the kernel closes
}

/// Ends and removes what test runs left behind beside `own` whose watcher was killed with them. One that still runs
/// holds its lock and is left alone, as is everything of another user.
async fn remove_leftovers(own: &Path) {
    let owner = |path: &Path| fs::symlink_metadata(path).map(|found| found.uid()).ok();
    let temp_dir = own.parent().expect("it is in the temp dir");
    for entry in fs::read_dir(temp_dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX) && owner(&path) == owner(own);
        if is_one && path.join("postgres.lock").exists() && stop_leftover(&path).await.is_ok() {
            let _best_effort = fs::remove_dir_all(&path);
        }
    }
}
