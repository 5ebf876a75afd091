//! Runs one command that a repository brought, with no way to the platform or to other teams.
//!
//! Bubblewrap makes the namespaces and mounts, control groups and process limits bound what it uses, and
//! everything it starts dies with it: the first process of its pid namespace is killed, and the kernel kills
//! the rest. A sandbox also dies with the platform.
//!
//! Invariant: the environment inside is what the jail says and nothing else; of the machine's files there are
//! `/usr`, a few of `/etc` and the jail's mounts.

mod arguments;
mod cgroup;
mod launch;
mod network;
mod procfs;
mod record;
mod spawner;
mod supervise;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::build::Peak;
use domain::ids::TeamId;
use domain::secret::Secret;
use domain::values::Resources;
use rustix::process::geteuid;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::cgroup::Cgroups;
pub(super) use self::network::Network;
pub(super) use self::procfs::boot_id;
use self::record::Record;
use self::spawner::Spawner;
pub(super) use self::supervise::Running;
use crate::runner::disk::Disk;
use crate::runner::local::network::knows_itself;

/// The command's end of [`Jail::channel`].
pub(super) const CHANNEL: i32 = 3;

/// Users that teams get when the platform runs as root: `uid_base` and as many after it.
const USERS: u32 = 65_536;

/// How long the sandbox of an earlier try may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one command gets.
pub(super) struct Jail {
    /// Whose user it runs as.
    pub(super) team: TeamId,
    /// Program, found on the `PATH` of `env`, and its arguments.
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) env: Vec<(String, Secret)>,
    /// Directories of the machine that it sees, later ones over earlier ones.
    pub(super) mounts: Vec<Mount>,
    /// Where it starts, as seen inside.
    pub(super) cwd: PathBuf,
    /// The home directory of its user, as seen inside.
    pub(super) home: PathBuf,
    /// Limits; disk and wall time are not taken from here.
    pub(super) limits: Resources,
    /// What bounds it on disk.
    pub(super) disk: Disk,
    /// Which network it sees.
    pub(super) network: Network,
    /// Handed to the command as descriptor [`CHANNEL`].
    pub(super) channel: Option<std::os::fd::OwnedFd>,
}

/// A directory or file of the machine, seen inside.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    pub(super) host: PathBuf,
    pub(super) inside: PathBuf,
    pub(super) writable: bool,
}

/// Makes sandboxes.
#[derive(Clone)]
pub(super) struct Sandbox(Arc<Inner>);

/// What ends the holder of each name.
type Claims = HashMap<String, CancellationToken>;

struct Inner {
    bwrap: PathBuf,
    /// One record a claim: `{name}.json`.
    records: PathBuf,
    /// Tells our control groups from those of other instances on the machine.
    instance: String,
    uid_base: u32,
    cgroups: Cgroups,
    spawner: Spawner,
    claims: Mutex<Claims>,
}

impl Sandbox {
    /// Looks for what the machine offers; says so where limits are weaker.
    pub(super) fn open(
        bwrap: PathBuf,
        records: PathBuf,
        instance: String,
        uid_base: u32,
    ) -> io::Result<Self> {
        fs::create_dir_all(&records)?;
        let cgroups = Cgroups::find();
        if matches!(cgroups, Cgroups::Absent) {
            tracing::warn!(
                "no control group is writable: builds and servers are bounded by process limits and by watching, \
                 their processor time is not"
            );
        }
        let spawner = Spawner::start()?;
        let claims = Mutex::default();
        Ok(Self(Arc::new(Inner { bwrap, records, instance, uid_base, cgroups, spawner, claims })))
    }

    /// The user that a team's sandboxes run as, where the platform may choose.
    ///
    /// Two teams may share one; that they cannot see each other does not depend on it.
    pub(super) fn user(&self, team: TeamId) -> Option<u32> {
        let number = u32::from_be_bytes(team.0.as_bytes()[12..].try_into().expect("a UUID has 16 bytes"));
        geteuid().is_root().then(|| self.0.uid_base + number % USERS)
    }

    /// Takes the name for one build or server. Whatever runs under it, from this life or an earlier one, is
    /// ended before.
    pub(super) async fn claim(&self, name: &str) -> io::Result<Arc<Claim>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waiting_for = match self.try_claim(name) {
                Ok(claim) => return Ok(claim),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                return Err(waiting_for);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether a command gets a network of its own with ways in and out here: tries it.
    pub(super) async fn makes_networks(&self) -> io::Result<()> {
        if !geteuid().is_root() {
            return Err(io::Error::other("the platform is not root"));
        }
        knows_itself()?;
        let claim = self.claim("network").await?;
        let jail = Jail {
            team: TeamId(uuid::Uuid::nil()),
            argv: vec!["/usr/bin/true".to_owned()],
            env: vec![],
            mounts: vec![],
            cwd: "/".into(),
            home: "/".into(),
            limits: Resources::SERVER,
            disk: Disk { dirs: vec![], before: 0, bytes: 1 << 20, gives_way: false },
            network: Network::Ways(None),
            channel: None,
        };
        let running = claim.run(jail).await?;
        let ended = running.ended().await;
        match ended.exit_code {
            Some(0) => Ok(()),
            _ => Err(io::Error::other("a sandbox with a network of its own ended badly")),
        }
    }

    fn try_claim(&self, name: &str) -> io::Result<Arc<Claim>> {
        let mut claims = self.claims();
        if let Some(older) = claims.get(name) {
            older.cancel();
            return Err(io::Error::other(format!("the earlier {name} does not end")));
        }
        self.take(&mut claims, name)
    }

    /// Takes the name unless somebody who lives has it. What an earlier life runs under it is ended.
    pub(super) fn claim_if_free(&self, name: &str) -> io::Result<Option<Arc<Claim>>> {
        let mut claims = self.claims();
        let elsewhere =
            || Record::read(&self.record(name)).is_some_and(|record| record.is_of_another_process());
        if claims.contains_key(name) || elsewhere() {
            return Ok(None);
        }
        self.take(&mut claims, name).map(Some)
    }

    fn take(&self, claims: &mut Claims, name: &str) -> io::Result<Arc<Claim>> {
        let record = self.record(name);
        if let Some(stray) = Record::read(&record) {
            stray.end()?;
        }
        Record::of_this_life().write(&record)?;
        let end = CancellationToken::new();
        claims.insert(name.to_owned(), end.clone());
        let (sandbox, name) = (self.clone(), name.to_owned());
        Ok(Arc::new(Claim { sandbox, name, end, running: TaskTracker::new(), peak: Mutex::default() }))
    }

    /// Names of builds and servers that have a record: those that run and those that an earlier life left.
    pub(super) fn recorded(&self) -> io::Result<Vec<String>> {
        let paths = fs::read_dir(&self.0.records)?.map(|entry| entry.map(|entry| entry.path()));
        let names = paths.filter_map(|path| match path {
            Ok(path) if path.extension().is_some_and(|extension| extension == "json") => {
                Some(Ok(path.file_stem()?.to_str()?.to_owned()))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        names.collect()
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.0.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, name: &str) -> PathBuf {
        self.0.records.join(format!("{name}.json"))
    }
}

/// The right to run sandboxes under one name, one after the other.
pub(super) struct Claim {
    sandbox: Sandbox,
    name: String,
    end: CancellationToken,
    running: TaskTracker,
    peak: Mutex<Peak>,
}

impl Claim {
    /// Resolves when somebody else wants the name, or when it has been ended.
    pub(super) async fn wanted(&self) {
        self.end.cancelled().await;
    }

    /// Whether somebody else wants the name, or it has been ended.
    pub(super) fn is_wanted(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Kills whatever runs; returns when it is gone.
    pub(super) async fn end(&self) {
        self.end.cancel();
        self.running.close();
        self.running.wait().await;
    }

    /// Starts the command. Dropping what is answered kills it.
    pub(super) async fn run(self: &Arc<Self>, jail: Jail) -> io::Result<Running> {
        supervise::run(self.clone(), jail).await
    }

    /// What its commands have used so far, those that have ended.
    pub(super) fn peak(&self) -> Peak {
        *self.peak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, used: Peak) {
        let mut peak = self.peak.lock().unwrap_or_else(PoisonError::into_inner);
        *peak = peak.then(used);
    }

    fn cgroup_name(&self) -> String {
        format!("mastra-admin-{}-{}", self.sandbox.0.instance, self.name)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.sandbox.claims();
        claims.remove(&self.name);
        if let Err(error) = fs::remove_file(self.sandbox.record(&self.name)) {
            tracing::warn!(sandbox = self.name, %error, "the record of {} could not be removed", self.name);
        }
    }
}

#[cfg(test)]
mod tests;
