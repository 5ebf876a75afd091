//! What a build used.

use serde::{Deserialize, Serialize};

/// What a build used at most, as far as its runner could tell: what is absent is not known. All figures are rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Memory of all its processes together, in MiB, with the files that the kernel kept in memory for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// What it had written to disk, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u32>,
    /// Processes and threads at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Processor time of all its commands, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u32>,
    /// From its begin to its end, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<u32>,
}

impl Peak {
    /// That of this command and one that ran after it: the larger of what they held, the sum of their time.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let sum = |one: Option<u32>, other: Option<u32>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Self {
            memory_mib: self.memory_mib.max(next.memory_mib),
            disk_mib: self.disk_mib.max(next.disk_mib),
            pids: self.pids.max(next.pids),
            cpu_seconds: sum(self.cpu_seconds, next.cpu_seconds),
            wall_seconds: sum(self.wall_seconds, next.wall_seconds),
        }
    }

    /// It, unless nothing is known.
    pub fn known(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }

    /// What it held, for the end of a sentence: `512 MiB of memory and 34 processes`.
    pub fn said(self) -> Option<String> {
        let memory = self.memory_mib.map(|mebibytes| format!("{mebibytes} MiB of memory"));
        let disk = self.disk_mib.map(|mebibytes| format!("{mebibytes} MiB of disk"));
        let pids = self.pids.map(|count| format!("{count} process{}", if count == 1 { "" } else { "es" }));
        let parts: Vec<String> = [memory, disk, pids].into_iter().flatten().collect();
        match &parts[..] {
            [] => None,
            [only] => Some(only.clone()),
            [first @ .., last] => Some(format!("{} and {last}", first.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_commands_the_larger_counts_and_their_time_adds_up() {
        let one = Peak { memory_mib: Some(9), pids: Some(1), cpu_seconds: Some(2), ..Peak::default() };
        let two = Peak { memory_mib: Some(5), disk_mib: Some(7), cpu_seconds: Some(3), ..Peak::default() };
        let both = Peak {
            memory_mib: Some(9),
            disk_mib: Some(7),
            pids: Some(1),
            cpu_seconds: Some(5),
            wall_seconds: None,
        };
        assert_eq!(one.then(two), both);
        assert_eq!(two.then(one), both);
        assert_eq!(both.then(Peak::default()), both);
    }

    #[test]
    fn only_what_is_known_is_said() {
        let peak = Peak { memory_mib: Some(512), pids: Some(34), ..Peak::default() };
        assert_eq!(peak.said().unwrap(), "512 MiB of memory and 34 processes");
        let all = Peak { disk_mib: Some(3), pids: Some(1), ..peak };
        assert_eq!(all.said().unwrap(), "512 MiB of memory, 3 MiB of disk and 1 process");
        let nothing = Peak { cpu_seconds: Some(1), ..Peak::default() };
        assert_eq!((nothing.said(), Peak::default().known(), nothing.known()), (None, None, Some(nothing)));
    }
}
