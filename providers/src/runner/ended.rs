//! How a command or a server ended, and what is said about it.

use domain::build::FailureCode;
use domain::ports::runner::{ExitReport, StartFailure};
use domain::values::Resources;
use tokio::sync::{oneshot, watch};

use super::failures::DISK_FULL;

/// Tells once how a server ended by itself; one that was stopped ends without a word.
pub(in crate::runner) fn told(exit: &watch::Receiver<Option<ExitReport>>) -> oneshot::Receiver<ExitReport> {
    let (tell, exited) = oneshot::channel();
    let mut exit = exit.clone();
    tokio::spawn(async move {
        let report = exit.wait_for(Option::is_some).await.ok().and_then(|report| report.clone());
        if let Some(report) = report {
            let _nobody_listens = tell.send(report);
        }
    });
    exited
}

/// Lines of output that a failure quotes.
const QUOTED_LINES: usize = 15;

/// How a command ended. When it is known, no process of it is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::runner) struct Ended {
    /// Its exit code, when it exited.
    pub(in crate::runner) exit_code: Option<i32>,
    /// The signal that killed it. An exit code above 128 is taken for one, as a shell does.
    pub(in crate::runner) signal: Option<i32>,
    /// The limit that it hit.
    pub(in crate::runner) excess: Option<Excess>,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runner) enum Excess {
    /// More memory than allowed.
    Memory,
    /// More on disk than allowed.
    Disk,
    /// The disk of the machine is full.
    Host,
}

impl Ended {
    /// From an exit code as a shell or the first process of a container gives it.
    pub(in crate::runner) fn of_code(code: i32, excess: Option<Excess>) -> Self {
        match code {
            129..=192 => Self { exit_code: None, signal: Some(code - 128), excess },
            _ => Self { exit_code: Some(code), signal: None, excess },
        }
    }

    /// Whether memory ran out: that of the sandbox, or the part of it that Node may use for its heap.
    pub(in crate::runner) fn out_of_memory(self, tail: &str) -> bool {
        self.excess == Some(Excess::Memory) || tail.contains("JavaScript heap out of memory")
    }

    /// What is told of a server that ended by itself, whose last output was `tail`.
    pub(in crate::runner) fn report(self, tail: &str) -> ExitReport {
        let Self { exit_code, signal, .. } = self;
        ExitReport { exit_code, signal, out_of_memory: self.out_of_memory(tail) }
    }

    /// The failure and what to do about it, if it hit a limit; `who` (`build` or `server`) is whose they are.
    pub(in crate::runner) fn explain(
        self,
        who: &str,
        limits: Resources,
        tail: &str,
    ) -> Option<(FailureCode, String)> {
        if self.excess == Some(Excess::Host) {
            return Some((FailureCode::DiskFull, DISK_FULL.to_owned()));
        }
        let (code, did, mebibytes) = if self.out_of_memory(tail) {
            (FailureCode::OutOfMemory, "needed more memory than", limits.memory_mib)
        } else if self.excess == Some(Excess::Disk) {
            (FailureCode::OutOfDisk, "wrote more to disk than", limits.disk_mib)
        } else {
            return None;
        };
        let mebibytes = mebibytes.unwrap_or_default();
        let message =
            format!("the {who} {did} its {mebibytes} MiB: raise the limit in the project's resources");
        Some((code, message))
    }

    /// What is said of a server that ended before it was ready.
    pub(in crate::runner) fn before_ready(self, limits: Resources, tail: &str) -> StartFailure {
        let usual = || {
            (FailureCode::ExitedBeforeReady, format!("the server ended before it was ready: {}", self.how()))
        };
        let (code, what) = self.explain("server", limits, tail).unwrap_or_else(usual);
        let message = format!("{what}{}", quote(tail));
        StartFailure { code, message, exit_code: self.exit_code, retry: false }
    }

    /// In words.
    pub(in crate::runner) fn how(self) -> String {
        match (self.exit_code, self.signal) {
            (Some(code), _) => format!("it exited with code {code}"),
            (None, Some(signal)) => format!("signal {signal} killed it"),
            (None, None) => "it vanished".to_owned(),
        }
    }
}

fn quote(tail: &str) -> String {
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
    if last.is_empty() { String::new() } else { format!(". Its last output:\n{}", last.join("\n")) }
}
