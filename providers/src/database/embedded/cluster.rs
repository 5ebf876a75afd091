//! The cluster on disk: whose it is, where its socket is, and how it is made.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::binaries::Binaries;
use super::error::EmbeddedError;

/// The cluster's only login; owns everything.
pub(super) const SUPERUSER: &str = "mastra_admin";

/// The port is only part of the socket's name.
pub(super) const PORT: u16 = 5432;

/// In every cluster: its major version.
pub(super) const VERSION_FILE: &str = "PG_VERSION";

/// `sun_path` has 108 bytes, the last of them 0.
const LONGEST_SOCKET_PATH: usize = 107;

/// How a program of PostgreSQL names the cluster: by a directory handed to it, already open.
const DIRECTORY_FD: i32 = 3;

/// Where the cluster lives and who runs it.
pub(super) struct Cluster {
    /// The directory, `data_dir/postgres`.
    pub(super) dir: PathBuf,
    /// The directory of the socket: the cluster itself when the socket's path fits there.
    pub(super) socket_dir: PathBuf,
    account: Option<Account>,
}

/// The account PostgreSQL runs under when we are root.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Finds out who may run the cluster below `data_dir`, an existing directory with an absolute path.
    pub(super) fn open(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let dir = data_dir.join("postgres");
        let me = rustix::process::geteuid();
        // An empty directory that root made is no cluster yet; what is in one of another account only root sees.
        let made = if me.is_root() { dir.join(VERSION_FILE) } else { dir.clone() };
        let owner = match fs::metadata(&made) {
            Ok(found) => Some(Account { uid: found.uid(), gid: found.gid() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(EmbeddedError::files(&dir)(error)),
        };
        let wrong = |owner| EmbeddedError::WrongOwner { dir: dir.clone(), owner, user: me.as_raw() };
        let account = match (me.is_root(), owner) {
            (true, Some(Account { uid: 0, .. })) => return Err(wrong(0)),
            (true, Some(owner)) => Some(owner),
            (true, None) => Some(unprivileged().ok_or(EmbeddedError::NoAccount)?),
            (false, Some(Account { uid, .. })) if uid != me.as_raw() => return Err(wrong(uid)),
            (false, _) => None,
        };
        let socket_dir = if fits(&dir) { dir.clone() } else { short_dir(data_dir, me) };
        Ok(Self { dir, socket_dir, account })
    }

    /// Whether it was made before.
    pub(super) fn exists(&self) -> bool {
        self.dir.join(VERSION_FILE).exists()
    }

    /// The socket clients connect to.
    pub(super) fn socket(&self) -> PathBuf {
        socket_in(&self.socket_dir)
    }

    /// Makes the cluster: all of it, or nothing that a later start would take for one.
    pub(super) async fn make(&self, binaries: &Binaries, durable: bool) -> Result<(), EmbeddedError> {
        let data_dir = self.dir.parent().expect("joined to the data dir");
        forget_unfinished(data_dir);
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(data_dir)
            .map_err(EmbeddedError::files(data_dir))?;
        self.give(unfinished.path())?;

        let program = binaries.initdb();
        let mut initdb = self.command(&program, unfinished.path())?;
        initdb.args(["--username", SUPERUSER, "--encoding=UTF8", "--locale=C", "--data-checksums"]);
        // Whoever reaches the socket is let in, as any role: reaching it takes the server's own user or root, because
        // the directory is theirs alone. `peer` would say no more and bind the roles to names in /etc/passwd.
        initdb.args(["--auth-local=trust", "--auth-host=reject", "--no-instructions"]);
        if !durable {
            initdb.arg("--no-sync");
        }
        let output = initdb
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| EmbeddedError::Program { program, source })?;
        if !output.status.success() {
            let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
            said.push_str(&String::from_utf8_lossy(&output.stdout));
            return Err(if EmbeddedError::says_disk_full(&said) {
                EmbeddedError::DiskFull { dir: self.dir.clone() }
            } else {
                EmbeddedError::Init { dir: self.dir.clone(), output: said.trim().to_owned() }
            });
        }
        fs::rename(unfinished.path(), &self.dir).map_err(EmbeddedError::files(&self.dir))?;
        let _renamed = unfinished.keep();
        if durable {
            File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(EmbeddedError::files(data_dir))?;
        }
        Ok(())
    }

    /// Makes the socket's directory if it is not the cluster itself. It has a name anyone can guess in a directory
    /// anyone can write to, so one that is there already must be ours and closed to all others.
    pub(super) fn make_socket_dir(&self) -> Result<(), EmbeddedError> {
        let dir = &self.socket_dir;
        if *dir == self.dir {
            return Ok(());
        }
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => self.give(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(dir).map_err(EmbeddedError::files(dir))?;
                let uid = self.account.map_or_else(|| rustix::process::geteuid().as_raw(), |it| it.uid);
                let private = found.permissions().mode() & 0o077 == 0;
                if found.is_dir() && private && found.uid() == uid {
                    Ok(())
                } else {
                    Err(EmbeddedError::SocketDirNotPrivate { dir: dir.clone() })
                }
            }
            Err(error) => Err(EmbeddedError::files(dir)(error)),
        }
    }

    /// A command of PostgreSQL for the cluster in `dir`: unprivileged, without our environment, in a process group
    /// of its own (a Ctrl-C in the terminal is for us, and we stop the database last).
    ///
    /// The directory is handed over open and named through `/proc`. So the directories above it can stay closed to
    /// PostgreSQL's account: the data dir may be root's alone, or below a home directory that only root may enter.
    pub(super) fn command(&self, program: &Path, dir: &Path) -> Result<Command, EmbeddedError> {
        let open = File::open(dir).map_err(EmbeddedError::files(dir))?;
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").process_group(0);
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
            .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(open), child_fd: DIRECTORY_FD }])
            .expect("one mapping cannot collide");
        command.arg("-D").arg(format!("/proc/self/fd/{DIRECTORY_FD}"));
        Ok(command)
    }

    fn give(&self, path: &Path) -> Result<(), EmbeddedError> {
        match self.account {
            Some(Account { uid, gid }) => {
                chown(path, Some(uid), Some(gid)).map_err(EmbeddedError::files(path))
            }
            None => Ok(()),
        }
    }
}

/// The socket's path in `dir`.
pub(super) fn socket_in(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

const UNFINISHED: &str = "postgres.unfinished-";

/// Removes what an initdb left behind that was cut off. What cannot be removed is only litter.
fn forget_unfinished(data_dir: &Path) {
    for entry in fs::read_dir(data_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, "cannot remove {}", entry.path().display());
        }
    }
}

/// Whether clients can name the socket in `dir`: in 107 bytes, and in UTF-8, as it becomes part of a URL.
fn fits(dir: &Path) -> bool {
    socket_in(dir).to_str().is_some_and(|path| path.len() <= LONGEST_SOCKET_PATH)
}

fn short_dir(data_dir: &Path, me: rustix::process::Uid) -> PathBuf {
    let hash = hex::encode(&Sha256::digest(data_dir.as_os_str().as_encoded_bytes())[..8]);
    let base = if me.is_root() { "/run" } else { "/tmp" };
    PathBuf::from(format!("{base}/mastra-admin-{}-{hash}", me.as_raw()))
}

/// The account for PostgreSQL when we are root: the one its package makes, or the one that owns nothing.
fn unprivileged() -> Option<Account> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then_some(())?;
            Some(Account { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
    };
    find("postgres").or_else(|| find("nobody"))
}
