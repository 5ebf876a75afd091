//! What can go wrong with the embedded PostgreSQL, in sentences an operator can act on.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use thiserror::Error;

/// Why the embedded PostgreSQL could not be started, or why it ended.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// No usable installation.
    #[error(
        "no PostgreSQL {oldest} or newer found; looked in {}: install it with `apt-get install postgresql`, \
         point MASTRA_ADMIN_POSTGRES_BIN at the directory of its programs, or set DATABASE_URL",
        list(.looked)
    )]
    NoBinaries {
        /// The oldest major version that will do.
        oldest: u32,
        /// Every directory that was tried.
        looked: Vec<PathBuf>,
    },
    /// The cluster on disk needs another major version than the installed ones.
    #[error(
        "the database in {} was made by PostgreSQL {cluster}, but only {} is installed: either run \
         `apt-get install postgresql-{cluster}` or point MASTRA_ADMIN_POSTGRES_BIN at the programs of version \
         {cluster}; or stop mastra-admin and upgrade the directory with `pg_upgrade`",
        .dir.display(),
        .found.join(" and ")
    )]
    OtherMajor {
        /// The cluster.
        dir: PathBuf,
        /// Its major version.
        cluster: u32,
        /// What is installed: version and directory.
        found: Vec<String>,
    },
    /// Another server process holds the lock of the data dir.
    #[error(
        "another mastra-admin{} uses the data dir {}: stop it or choose another --data-dir",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        .data_dir.display()
    )]
    DataDirBusy {
        /// The data dir.
        data_dir: PathBuf,
        /// The process that holds it, when it said so.
        pid: Option<i32>,
    },
    /// A PostgreSQL that was started by hand runs on the cluster.
    #[error(
        "a PostgreSQL server (process {pid}) that mastra-admin did not start runs on {}: stop it first",
        .dir.display()
    )]
    ClusterBusy {
        /// The cluster.
        dir: PathBuf,
        /// The foreign postmaster.
        pid: i32,
    },
    /// Something else answers on our socket, or its directory is not private.
    #[error("the socket {} is taken by another program: stop that program", .socket.display())]
    SocketTaken {
        /// The socket's path.
        socket: PathBuf,
    },
    /// Directory for the socket that someone else made, or that others may enter.
    #[error("{} exists and is not a private directory of this server's user: remove it", .dir.display())]
    SocketDirNotPrivate {
        /// The directory.
        dir: PathBuf,
    },
    /// No room on the file system.
    #[error("no space left on the file system of {}: make room, then start again", .dir.display())]
    DiskFull {
        /// The cluster.
        dir: PathBuf,
    },
    /// The cluster belongs to another account.
    #[error(
        "{} belongs to user id {owner}, and this process runs as user id {user}: start mastra-admin as the \
         owner (PostgreSQL itself never runs as root), or change the owner with `chown -R`",
        .dir.display()
    )]
    WrongOwner {
        /// The cluster.
        dir: PathBuf,
        /// Who owns it. PostgreSQL never runs as root, so 0 is as wrong as anyone else's.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Started as root, and no account to run PostgreSQL under.
    #[error(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`: create one with \
         `adduser --system postgres`"
    )]
    NoAccount,
    /// A file or directory could not be read or written.
    #[error("cannot use {}: check that it exists and who may read and write it", .path.display())]
    Files {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program of PostgreSQL could not be run at all.
    #[error(
        "{} could not be run: it must be executable for the account PostgreSQL runs under",
        .program.display()
    )]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `initdb` failed for a reason of its own.
    #[error("initdb could not create the database in {}: {output}", .dir.display())]
    Init {
        /// The cluster.
        dir: PathBuf,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended without being asked to: while starting or later.
    #[error("the embedded PostgreSQL ended ({status}); the end of {} says: {tail}", .log.display())]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A process of an earlier life could not be stopped.
    #[error("process {pid} of an earlier PostgreSQL on {} does not end: kill it", .dir.display())]
    Stuck {
        /// The cluster.
        dir: PathBuf,
        /// The process.
        pid: i32,
    },
    /// The server runs and refuses the first connection.
    #[error("the embedded PostgreSQL refused the first connection")]
    Database(#[source] sqlx::Error),
}

impl EmbeddedError {
    /// For `map_err` on file operations.
    pub(super) fn files(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { dir: path },
            _ => Self::Files { path, source },
        }
    }

    /// Whether PostgreSQL's own words say that the disk is full.
    pub(super) fn says_disk_full(output: &str) -> bool {
        output.contains("No space left on device") || output.contains("Disk quota exceeded")
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
