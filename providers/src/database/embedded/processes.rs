//! Finds and ends PostgreSQL processes of an earlier life of the server.
//!
//! `postmaster.pid` is not asked: after a crash or a reboot its pid may be anybody's. What belongs to a cluster is
//! known by its working directory, which every PostgreSQL process sets to the cluster's.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::task::spawn_blocking;

use super::error::EmbeddedError;

/// `cluster_name` of the servers we start; tells them from one started by hand.
pub(super) const CLUSTER_NAME: &str = "mastra-admin";

/// How a postmaster is stopped: connections cut and all written out; else as after a crash; else by force.
pub(super) const STOP: &[(Signal, u64)] = &[(Signal::INT, 30), (Signal::QUIT, 5), (Signal::KILL, 5)];

/// A process that works in the cluster.
pub(super) struct Resident {
    /// Its process id.
    pub(super) pid: Pid,
    /// Names the process even when the id is used again.
    pub(super) pidfd: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postmaster { ours: bool },
    Child,
}

/// All PostgreSQL processes of the cluster, the postmaster first.
pub(super) fn residents(cluster: &Path) -> Vec<Resident> {
    let (Ok(home), Ok(processes)) = (fs::metadata(cluster), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let mut residents: Vec<Resident> = processes
        .flatten()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let proc = entry.path();
            // Opened before it is looked at: what is signalled later is what was looked at, or nothing.
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            let cwd = fs::metadata(proc.join("cwd")).ok()?;
            let is_postgres = fs::read_to_string(proc.join("comm")).ok()?.trim() == "postgres";
            if !is_postgres || (cwd.dev(), cwd.ino()) != (home.dev(), home.ino()) {
                return None;
            }
            let argv = String::from_utf8_lossy(&fs::read(proc.join("cmdline")).ok()?).into_owned();
            Some(Resident { pid, pidfd, kind: kind(&argv) })
        })
        .collect();
    residents.sort_by_key(|resident| resident.kind == Kind::Child);
    residents
}

/// A postmaster keeps its arguments, its children overwrite them with `postgres: what they do`.
fn kind(argv: &str) -> Kind {
    if argv.starts_with("postgres: ") {
        Kind::Child
    } else {
        Kind::Postmaster { ours: argv.contains(&format!("cluster_name={CLUSTER_NAME}")) }
    }
}

/// Ends what an earlier life left running on the cluster. When this returns without an error, nothing runs there.
///
/// A postmaster of ours is shut down as `stop` would; children whose postmaster was killed are killed too, because
/// PostgreSQL refuses to start while one of them lives. A server started by hand is left alone: `ClusterBusy`.
pub(super) async fn end_residents(cluster: &Path) -> Result<(), EmbeddedError> {
    for Resident { pid, pidfd, kind } in &residents(cluster) {
        let Kind::Postmaster { ours } = kind else { continue };
        if !ours {
            return Err(EmbeddedError::ClusterBusy { dir: cluster.to_owned(), pid: pid.as_raw_pid() });
        }
        tracing::warn!(postgres.pid = %pid, "stopping PostgreSQL process {pid}, left over from an earlier run");
        end(pidfd, STOP).await;
    }
    for left in residents(cluster) {
        if !end(&left.pidfd, &[(Signal::KILL, 5)]).await {
            return Err(EmbeddedError::Stuck { dir: cluster.to_owned(), pid: left.pid.as_raw_pid() });
        }
    }
    Ok(())
}

/// Sends signal after signal, each with its seconds of patience; answers whether the process is gone. One that is
/// gone already is fine.
pub(super) async fn end(pidfd: &OwnedFd, steps: &'static [(Signal, u64)]) -> bool {
    let Ok(pidfd) = pidfd.try_clone() else { return false };
    let ended = spawn_blocking(move || {
        steps.iter().any(|(signal, seconds)| {
            let _gone = pidfd_send_signal(&pidfd, *signal);
            has_ended(&pidfd, *seconds)
        })
    });
    ended.await.unwrap_or(false)
}

/// Waits for the end of a process: that is when its pidfd becomes readable.
fn has_ended(pidfd: &OwnedFd, seconds: u64) -> bool {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a few seconds");
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            answer => return answer.is_ok_and(|ready| ready > 0),
        }
    }
}
