//! What is written down about everything that runs, so that a later life of the platform finds and ends what
//! an earlier one left behind: one small file each in the data directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::procfs;

/// One build or server. Belongs to the process of the platform that wrote it for as long as that lives.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    boot: String,
    owner: Process,
    processes: Vec<Process>,
    cgroup: Vec<PathBuf>,
}

/// A process, told apart from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    start: u64,
}

impl Record {
    /// Nothing runs yet, but the name is taken.
    pub(super) fn of_this_life() -> Self {
        let own = i32::try_from(std::process::id()).ok().and_then(Process::now);
        Self {
            boot: procfs::boot_id(),
            owner: own.unwrap_or(Process { pid: 0, start: 0 }),
            processes: Vec::new(),
            cgroup: Vec::new(),
        }
    }

    /// Adds what is about to run.
    pub(super) fn with(mut self, pids: &[i32], cgroup: Option<&Cgroup>) -> Self {
        self.processes = pids.iter().filter_map(|pid| Process::now(*pid)).collect();
        self.cgroup = cgroup.map(|group| group.dirs().to_vec()).unwrap_or_default();
        self
    }

    /// The record in the file; `None` when there is none or it is damaged.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Replaces the file whole.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, path)
    }

    /// Whether another process of the platform that still lives wrote it.
    pub(super) fn is_of_another_process(&self) -> bool {
        let own = i32::try_from(std::process::id()).ok();
        let lives = self.boot == procfs::boot_id() && Process::now(self.owner.pid) == Some(self.owner);
        lives && own != Some(self.owner.pid)
    }

    /// Kills what is left of it. An error says that something is still there: ask again.
    pub(super) fn end(&self) -> io::Result<()> {
        if self.boot != procfs::boot_id() {
            return Ok(());
        }
        for process in &self.processes {
            process.kill();
        }
        Cgroup::left_behind(self.cgroup.clone()).end()
    }
}

impl Process {
    fn now(pid: i32) -> Option<Self> {
        procfs::start_time(pid).map(|start| Self { pid, start })
    }

    /// Opened before it is looked at, so that the signal cannot meet another process with this pid.
    fn kill(self) {
        let opened = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(opened) = opened
            && Self::now(self.pid) == Some(self)
        {
            let _gone_already = pidfd_send_signal(opened, Signal::KILL);
        }
    }
}
