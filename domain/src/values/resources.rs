//! Limits of what a build or a server may use.

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// Limits of one build or server. What is absent is the default of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Memory in MiB, 64 to 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Processor time in thousandths of a core, 100 to 64000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Number of processes and threads, 16 to 32768.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Size of what it writes to disk, in MiB, 64 to 1048576.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u32>,
    /// Wall time in seconds, 10 to 21600; builds only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// Limits of a project's builds and of its servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcePlan {
    /// For install and build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<Resources>,
    /// For the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<Resources>,
}

impl Resources {
    /// What a build gets when nothing is said: a Mastra build peaks at 1.5 GiB.
    pub const BUILD: Self = Self {
        memory_mib: Some(2048),
        cpu_millis: None,
        pids: Some(1024),
        disk_mib: Some(8192),
        timeout_seconds: Some(1200),
    };

    /// What a server gets when nothing is said: a Mastra server idles at 210 MB.
    pub const SERVER: Self = Self {
        memory_mib: Some(512),
        cpu_millis: None,
        pids: Some(256),
        disk_mib: Some(2048),
        timeout_seconds: None,
    };

    /// These limits with the gaps filled from `defaults`.
    pub fn or(self, defaults: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.or(defaults.memory_mib),
            cpu_millis: self.cpu_millis.or(defaults.cpu_millis),
            pids: self.pids.or(defaults.pids),
            disk_mib: self.disk_mib.or(defaults.disk_mib),
            timeout_seconds: self.timeout_seconds.or(defaults.timeout_seconds),
        }
    }

    /// Refuses numbers outside their bounds; the error names the field.
    pub fn check(&self) -> Result<(), (&'static str, InvalidValue)> {
        let bounds = [
            ("memoryMib", self.memory_mib, 64, 65_536),
            ("cpuMillis", self.cpu_millis, 100, 64_000),
            ("pids", self.pids, 16, 32_768),
            ("diskMib", self.disk_mib, 64, 1_048_576),
            ("timeoutSeconds", self.timeout_seconds, 10, 21_600),
        ];
        for (field, value, low, high) in bounds {
            if value.is_some_and(|value| value < low || value > high) {
                return Err((field, InvalidValue(format!("must be {low} to {high}"))));
            }
        }
        Ok(())
    }
}
