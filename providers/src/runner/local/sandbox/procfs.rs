//! What `/proc` tells about the processes of a sandbox.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

/// Clock ticks from boot to the start of the process: with the pid, its identity for as long as the machine
/// is up. `None` when there is no such process.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// The identity of this boot: process ids of another one mean nothing.
pub(in crate::runner::local) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The command that the sandbox runs: the second process of its pid namespace, a child of its init.
pub(super) fn command_of(init: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| pid_inside(*pid) == Some(2))
}

/// The pid that the process sees itself.
fn pid_inside(pid: i32) -> Option<i32> {
    status(pid, "NSpid:")?.split_whitespace().last()?.parse().ok()
}

/// The process and all its descendants. Orphans of a sandbox are children of its init, so that none is missed.
pub(super) fn tree(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let parent = stat(pid).and_then(|fields| fields.get(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Resident memory of the processes, in bytes; pages that they share count once for each.
pub(super) fn resident(pids: &[i32]) -> u64 {
    let kibibytes = |pid: &i32| status(*pid, "VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok();
    pids.iter().filter_map(kibibytes).sum::<u64>() * 1024
}

/// Whether one of the processes, which are in one network, listens on the TCP port. Asked before a port that a sandbox
/// tells is believed: the platform or another sandbox may sit on that port.
pub(super) fn listens(pids: &[i32], port: u16) -> bool {
    let mut sockets = HashSet::new();
    let Some(first) = pids.first() else { return false };
    for table in ["tcp", "tcp6"] {
        for line in
            fs::read_to_string(format!("/proc/{first}/net/{table}")).unwrap_or_default().lines().skip(1)
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, "0A", ..] = fields[..] else { continue };
            let here = local.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
            if here == Some(port)
                && let Some(inode) = fields.get(9)
            {
                sockets.insert(format!("socket:[{inode}]"));
            }
        }
    }
    pids.iter().any(|pid| holds(*pid, &sockets))
}

fn holds(pid: i32, sockets: &HashSet<String>) -> bool {
    let descriptors = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    descriptors.into_iter().flatten().flatten().any(|descriptor| {
        fs::read_link(descriptor.path())
            .is_ok_and(|link| link.to_str().is_some_and(|link| sockets.contains(link)))
    })
}

/// Descriptors above the standard ones that this process would hand to what it starts: those that it was
/// itself started with, for Rust opens none such.
pub(super) fn inheritable() -> Vec<i32> {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let descriptors = fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let inheritable = descriptors.filter(|entry| {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let flags =
            text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
    });
    let numbers = inheritable.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 2).collect()
}

/// One field of `/proc/PID/status`.
fn status(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)).map(str::to_owned)
}

/// The fields of `/proc/PID/stat` after the command's name, which may itself contain spaces and parentheses:
/// index 0 is the state, the third field of the manual page.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
