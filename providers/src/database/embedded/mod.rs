//! The embedded PostgreSQL: with no database named by the operator, the platform brings up one of its own below
//! its data dir, on a unix socket only, and stops it when it stops.
//!
//! Invariants: one server process per data dir (`postgres.lock`); one postmaster per cluster; PostgreSQL never runs
//! as root; nobody but its account and root reaches the socket; nothing listens on the network.

mod binaries;
mod cluster;
mod error;
mod log;
mod processes;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use cluster::{Cluster, PORT, SUPERUSER};
use log::Log;

pub use error::EmbeddedError;

/// The database everything is in.
const DATABASE: &str = "mastra_admin";

/// What the embedded server needs to know.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The platform's data dir; the cluster is its `postgres`, the log its `postgres.log`. Made if missing.
    pub data_dir: PathBuf,
    /// Where PostgreSQL's programs are (`MASTRA_ADMIN_POSTGRES_BIN`); looked for when not given.
    pub bin_dir: Option<PathBuf>,
    /// False only in tests: nothing is synced to disk, so a power failure (kill -9 does not) may destroy it.
    pub durable: bool,
}

/// A running embedded server. Dropping it asks PostgreSQL to stop; `stop` also waits for it.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    pidfd: OwnedFd,
    ended: watch::Receiver<Option<ExitStatus>>,
    log: Log,
    /// Held for as long as we live.
    _lock: File,
}

impl Embedded {
    /// Brings the server up: makes the cluster if there is none, ends what an earlier life left running, waits for
    /// crash recovery however long it takes, makes the database if it is missing.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let EmbeddedConfig { data_dir, bin_dir, durable } = config;
        fs::create_dir_all(&data_dir).map_err(EmbeddedError::files(&data_dir))?;
        let data_dir = fs::canonicalize(&data_dir).map_err(EmbeddedError::files(&data_dir))?;
        let lock = lock(&data_dir)?;
        let cluster = Cluster::open(&data_dir)?;
        let binaries = binaries::find(bin_dir.as_deref(), &cluster.dir).await?;

        if !cluster.exists() {
            tracing::info!("creating a PostgreSQL cluster in {}", cluster.dir.display());
            cluster.make(&binaries, durable).await?;
        }
        cluster.make_socket_dir()?;
        clear_the_way(&cluster).await?;

        let log = Log::open(&data_dir)?;
        let mut postmaster = postmaster(&cluster, &binaries.postgres(), durable)?;
        postmaster.stdin(Stdio::null()).stdout(log.writer()?).stderr(log.writer()?);
        let program = binaries.postgres();
        let child = postmaster.spawn().map_err(|source| EmbeddedError::Program { program, source })?;
        let embedded = Self::watch(child, &cluster, log, lock)?;
        embedded.ready(&cluster).await?;
        make_database(&cluster).await.map_err(EmbeddedError::Database)?;
        tracing::info!("embedded PostgreSQL runs in {}", cluster.dir.display());
        Ok(embedded)
    }

    /// Where clients connect to: a `postgres://` URL of the socket. It holds no secret.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Resolves when the server ends without having been asked to, with what is known about it.
    pub fn crashed(&self) -> impl Future<Output = EmbeddedError> + Send + 'static {
        let (mut ended, log) = (self.ended.clone(), self.log.clone());
        async move {
            match ended.wait_for(Option::is_some).await.map(|status| *status) {
                Ok(Some(status)) => log.explain(status),
                _ => std::future::pending().await, // the runtime shuts down, nobody asks any more
            }
        }
    }

    /// Shuts the server down: connections are cut, everything committed is on disk. Answers when it has ended;
    /// after half a minute it is ended the hard way, and the next start recovers.
    pub async fn stop(self) {
        if !processes::end(&self.pidfd, processes::STOP).await {
            tracing::error!("the embedded PostgreSQL does not end");
        }
    }

    /// Takes charge of the postmaster's process: reaps it, and keeps its log short while it runs.
    fn watch(mut child: Child, cluster: &Cluster, log: Log, lock: File) -> Result<Self, EmbeddedError> {
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("not reaped yet");
        let pidfd =
            pidfd_open(pid, PidfdFlags::empty()).map_err(|e| EmbeddedError::files(&cluster.dir)(e.into()))?;
        let (tell, ended) = watch::channel(None);
        let own_log = log.clone();
        tokio::spawn(async move {
            let mut minute = interval(Duration::from_mins(1));
            loop {
                tokio::select! {
                    status = child.wait() => {
                        tell.send_replace(status.ok());
                        return;
                    }
                    _ = minute.tick() => own_log.shorten(),
                }
            }
        });
        Ok(Self { url: url(&cluster.socket_dir), pidfd, ended, log, _lock: lock })
    }

    /// Waits until the postmaster lets clients in. Recovery after a crash may take long: it says how far it is.
    async fn ready(&self, cluster: &Cluster) -> Result<(), EmbeddedError> {
        let mut look = interval(Duration::from_millis(20));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = Instant::now();
        let crashed = self.crashed();
        tokio::pin!(crashed);
        loop {
            tokio::select! {
                error = &mut crashed => return Err(error),
                _ = look.tick() => {}
            }
            if status(&cluster.dir).is_some_and(|file| file.ready) {
                return Ok(());
            }
            if said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                tracing::info!("embedded PostgreSQL is starting: {}", self.log.last_line());
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _gone = pidfd_send_signal(&self.pidfd, Signal::INT);
    }
}

/// The URL of the embedded server that runs for this data dir, if one does. For programs beside the server.
pub fn running_url(data_dir: &Path) -> Option<String> {
    let cluster = fs::canonicalize(data_dir).ok()?.join("postgres");
    let socket_dir = cluster.join(status(&cluster)?.socket_dir); // absolute, or `.`
    let socket_dir = fs::canonicalize(socket_dir).ok()?;
    UnixStream::connect(cluster::socket_in(&socket_dir)).ok()?;
    Some(url(&socket_dir))
}

/// Ends what a killed server left running for this data dir. Refused while a server holds the data dir.
pub async fn stop_leftover(data_dir: &Path) -> Result<(), EmbeddedError> {
    let _lock = lock(data_dir)?;
    processes::end_residents(&data_dir.join("postgres")).await
}

/// The port is named although it is the usual one: sqlx would otherwise take `PGPORT` from our environment.
fn url(socket_dir: &Path) -> String {
    let host = utf8_percent_encode(socket_dir.to_str().expect("checked by `fits`"), NON_ALPHANUMERIC);
    format!("postgres://{SUPERUSER}@localhost:{PORT}/{DATABASE}?host={host}&sslmode=disable")
}

/// Takes the data dir for this process. The kernel lets go of the lock however we end.
fn lock(data_dir: &Path) -> Result<File, EmbeddedError> {
    let path = data_dir.join("postgres.lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(EmbeddedError::files(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
            return Err(EmbeddedError::DataDirBusy { data_dir: data_dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(EmbeddedError::files(&path)(error)),
    }
    let write = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    write.map_err(EmbeddedError::files(&path))?;
    Ok(file)
}

/// Makes sure that the postmaster can start: nothing of an earlier life runs, and no file says that something does.
/// PostgreSQL believes its pid files when the process they name lives, whatever that process is.
async fn clear_the_way(cluster: &Cluster) -> Result<(), EmbeddedError> {
    processes::end_residents(&cluster.dir).await?;
    let socket = cluster.socket();
    if UnixStream::connect(&socket).is_ok() {
        return Err(EmbeddedError::SocketTaken { socket });
    }
    let mut socket_lock = socket.into_os_string();
    socket_lock.push(".lock");
    for stale in [cluster.dir.join("postmaster.pid"), socket_lock.into()] {
        match fs::remove_file(&stale) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EmbeddedError::files(&stale)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What `postmaster.pid` says.
struct Status {
    socket_dir: PathBuf,
    ready: bool,
}

fn status(cluster: &Path) -> Option<Status> {
    let file = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let mut lines = file.lines();
    let socket_dir = lines.nth(4)?.into();
    let ready = lines.nth(2).is_some_and(|state| state.trim() == "ready");
    Some(Status { socket_dir, ready })
}

/// The settings, all of them here: what is in the cluster's own files does not count.
fn postmaster(cluster: &Cluster, program: &Path, durable: bool) -> Result<Command, EmbeddedError> {
    let mut command = cluster.command(program, &cluster.dir)?;
    let same = cluster.socket_dir == cluster.dir;
    let socket_dir = if same { Path::new(".") } else { &cluster.socket_dir };
    let on_disk = if durable { "on" } else { "off" };
    let mut set = |name: &str, value: &str| {
        command.arg("-c").arg(format!("{name}={value}"));
    };
    set("cluster_name", processes::CLUSTER_NAME);
    set("listen_addresses", "");
    set("port", &PORT.to_string());
    set("unix_socket_directories", socket_dir.to_str().expect("chosen to be UTF-8"));
    set("unix_socket_permissions", "0700");
    // One server has forty. A cluster that keeps nothing is that of tests, which have several at a time.
    set("max_connections", if durable { "200" } else { "400" });
    set("shared_buffers", "64MB");
    set("max_wal_size", "512MB");
    set("jit", "off"); // compiling costs more than our short queries
    set("fsync", on_disk);
    set("full_page_writes", on_disk);
    set("synchronous_commit", "on"); // also without fsync: a commit then survives kill -9, if not a power failure
    set("timezone", "UTC");
    set("log_timezone", "UTC");
    set("log_destination", "stderr");
    set("logging_collector", "off");
    set("log_checkpoints", "off");
    set("log_startup_progress_interval", "5s");
    // Neither statements nor the values in an error's details: they may be personal data.
    set("log_error_verbosity", "terse");
    set("log_min_error_statement", "panic");
    Ok(command)
}

async fn make_database(cluster: &Cluster) -> sqlx::Result<()> {
    let url = url(&cluster.socket_dir).replacen(&format!("/{DATABASE}?"), "/postgres?", 1);
    let mut connection = PgConnection::connect(&url).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        sqlx::raw_sql(&format!("CREATE DATABASE {DATABASE}")).execute(&mut connection).await?;
    }
    connection.close().await
}
