//! Control groups: the kernel's limits on memory, processes and processor time of a sandbox.
//!
//! Version 2 where a parent group hands the controllers on, else the hierarchies of version 1. Where neither is
//! writable there are none, and the sandbox falls back to process limits and watching.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::build::Peak;
use domain::values::Resources;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::runner::failures::{mebibytes, seconds};

/// Where groups are made.
#[derive(Clone, Debug)]
pub(super) enum Cgroups {
    /// Below this group of the one hierarchy.
    V2(PathBuf),
    /// Below these groups, one a controller; processor time is bounded and counted only where there are hierarchies
    /// for that, or one for both.
    V1 { memory: PathBuf, pids: PathBuf, cpu: Option<PathBuf>, cpuacct: Option<PathBuf> },
    /// Nowhere.
    Absent,
}

/// The group of one sandbox: a directory in each hierarchy.
#[derive(Debug)]
pub(super) struct Cgroup {
    dirs: Vec<PathBuf>,
}

impl Cgroups {
    /// Looks for what this process may use, beside or below its own groups.
    pub(super) fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if let Some(parent) = v2_parent(&mounts, &own) {
            return Self::V2(parent);
        }
        let parent = |controller| v1_parent(&mounts, &own, controller);
        match (parent("memory"), parent("pids")) {
            (Some(memory), Some(pids)) => {
                let cpu = parent("cpu");
                let cpuacct = parent("cpuacct").filter(|own| Some(own) != cpu.as_ref());
                Self::V1 { memory, pids, cpu, cpuacct }
            }
            _ => Self::Absent,
        }
    }

    /// Makes a group with these limits, empty. `None` where there are no groups.
    pub(super) fn create(&self, name: &str, limits: &Resources) -> io::Result<Option<Cgroup>> {
        let (dirs, settings) = match self {
            Self::Absent => return Ok(None),
            Self::V2(parent) => (vec![parent.join(name)], settings_v2(limits)),
            Self::V1 { memory, pids, cpu, cpuacct } => {
                let parents = [Some(memory), Some(pids), cpu.as_ref(), cpuacct.as_ref()];
                (parents.into_iter().flatten().map(|parent| parent.join(name)).collect(), settings_v1(limits))
            }
        };
        let group = Cgroup { dirs };
        group.end()?;
        for dir in &group.dirs {
            fs::create_dir(dir)?;
        }
        for (file, value, needed) in settings {
            match group.dirs.iter().map(|dir| dir.join(file)).find(|path| path.exists()) {
                Some(path) => fs::write(path, value)?,
                None if needed => return Err(io::Error::other(format!("the kernel has no {file}"))),
                None => {}
            }
        }
        Ok(Some(group))
    }
}

impl Cgroup {
    /// The group that an earlier life made in these directories.
    pub(super) fn left_behind(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    /// Where it is.
    pub(super) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Moves a process in, and with it whatever it will start.
    pub(super) fn add(&self, pid: i32) -> io::Result<()> {
        self.dirs.iter().try_for_each(|dir| fs::write(dir.join("cgroup.procs"), pid.to_string()))
    }

    /// Whether the memory limit has killed a process.
    pub(super) fn out_of_memory(&self) -> bool {
        let counters = ["memory.events", "memory.oom_control"];
        let files = self.dirs.iter().flat_map(|dir| counters.map(|file| dir.join(file)));
        files.filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
            let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            kills.is_some_and(|count| count != "0")
        })
    }

    /// What was used in it at most, as far as this kernel counts.
    pub(super) fn peak(&self) -> Peak {
        let read = |file: &str| self.dirs.iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());
        let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
        let cpu = number("cpuacct.usage").map(Duration::from_nanos).or_else(|| {
            let stat = read("cpu.stat")?;
            let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()?;
            Some(Duration::from_micros(micros))
        });
        Peak {
            memory_mib: number("memory.peak").or_else(|| number("memory.max_usage_in_bytes")).map(mebibytes),
            disk_mib: None,
            pids: number("pids.peak").and_then(|count| count.try_into().ok()),
            cpu_seconds: cpu.map(seconds),
            wall_seconds: None,
        }
    }

    /// Kills whatever is left in it and removes it. An error says that some process is still there: ask again.
    pub(super) fn end(&self) -> io::Result<()> {
        for dir in self.dirs.iter().filter(|dir| dir.exists()) {
            for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(process) = pid.parse().ok().and_then(open) {
                    let _gone_already = pidfd_send_signal(&process, Signal::KILL);
                }
            }
            fs::remove_dir(dir)?;
        }
        Ok(())
    }
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// File, value, and whether the group is no use without it.
type Setting = (&'static str, String, bool);

fn settings_v2(limits: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(mebibytes) = limits.memory_mib {
        settings.push(("memory.max", bytes(mebibytes).to_string(), true));
        settings.push(("memory.swap.max", "0".to_owned(), false));
    }
    if let Some(pids) = limits.pids {
        settings.push(("pids.max", pids.to_string(), true));
    }
    if let Some(millis) = limits.cpu_millis {
        settings.push(("cpu.max", format!("{} 100000", u64::from(millis) * 100), false));
    }
    settings
}

fn settings_v1(limits: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(mebibytes) = limits.memory_mib {
        settings.push(("memory.limit_in_bytes", bytes(mebibytes).to_string(), true));
        settings.push(("memory.memsw.limit_in_bytes", bytes(mebibytes).to_string(), false));
    }
    if let Some(pids) = limits.pids {
        settings.push(("pids.max", pids.to_string(), true));
    }
    if let Some(millis) = limits.cpu_millis {
        settings.push(("cpu.cfs_period_us", "100000".to_owned(), false));
        settings.push(("cpu.cfs_quota_us", (u64::from(millis) * 100).to_string(), false));
    }
    settings
}

fn bytes(mebibytes: u32) -> u64 {
    u64::from(mebibytes) << 20
}

/// The nearest group, from our own upwards, that hands memory and pids to its children and lets us in.
fn v2_parent(mounts: &str, own: &str) -> Option<PathBuf> {
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new(root[1]);
    let mut group = root.join(own);
    loop {
        if hands_on(&group) && may_create_in(&group) && writable(&group.join("cgroup.procs")) {
            return Some(group);
        }
        if group == root || !group.pop() {
            return None;
        }
    }
}

fn hands_on(group: &Path) -> bool {
    let file = group.join("cgroup.subtree_control");
    let has_both = || {
        let controllers = fs::read_to_string(&file).unwrap_or_default();
        ["memory", "pids"]
            .iter()
            .all(|name| controllers.split_whitespace().any(|controller| controller == *name))
    };
    if !has_both() {
        // Refused where the group itself holds processes: then one further up may do.
        let _refused = fs::write(&file, "+memory +pids +cpu");
    }
    has_both()
}

/// Our own group of that controller, or its root where our own is not visible, as in a container.
fn v1_parent(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let names = |list: &str| list.split(',').any(|name| name == controller);
    let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mount.into_iter().find(|fields| fields[2] == "cgroup" && names(fields[3]))?;
    let own = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (list, path) = rest.split_once(":/")?;
        names(list).then_some(path)
    })?;
    let root = PathBuf::from(mount[1]);
    [root.join(own), root].into_iter().find(|group| may_create_in(group))
}

/// Tries it: permissions alone do not tell.
fn may_create_in(group: &Path) -> bool {
    let probe = group.join(format!("mastra-admin-probe-{}", uuid::Uuid::now_v7()));
    fs::create_dir(&probe).is_ok() && fs::remove_dir(&probe).is_ok()
}

fn writable(file: &Path) -> bool {
    fs::OpenOptions::new().write(true).open(file).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_group_that_hands_on_memory_and_pids_is_the_parent() {
        let root = tempfile::tempdir().unwrap();
        let mounts = format!("tmpfs /run tmpfs rw 0 0\ncgroup2 {} cgroup2 rw 0 0\n", root.path().display());
        let parent = || v2_parent(&mounts, "0::/a/b\n");
        let control = |group: &str| root.path().join(group).join("cgroup.subtree_control");
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        for group in ["", "a", "a/b"] {
            fs::write(root.path().join(group).join("cgroup.procs"), "").unwrap();
            fs::create_dir(control(group)).unwrap(); // can be neither read nor written
        }
        assert_eq!(parent(), None);

        fs::remove_dir(control("")).unwrap();
        fs::write(control(""), "cpu memory pids").unwrap();
        assert_eq!(parent(), Some(root.path().to_owned()));

        fs::remove_dir(control("a")).unwrap();
        fs::write(control("a"), "memory pids").unwrap();
        assert_eq!(parent(), Some(root.path().join("a")));
    }
}
