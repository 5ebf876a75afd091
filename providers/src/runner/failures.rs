//! Failures in the words of the port.

use std::io;
use std::time::Duration;

use domain::build::{FailureCode, Peak, Phase};
use domain::ports::git::GitError;
use domain::ports::runner::{BuildFailure, BuildWatch, StartFailure};
use domain::values::HealthGate;
use tokio::sync::watch;

/// A failure without an exit code.
pub(super) fn failure(code: FailureCode, phase: Phase, message: impl Into<String>) -> BuildFailure {
    BuildFailure { code, phase, message: message.into(), exit_code: None }
}

/// What is said where the disk of this machine is full.
pub(super) const DISK_FULL: &str =
    "there is no space left on the build host's disk: when its operator has made room, try again";

/// Whether what went wrong is that the disk is full.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
        || error.source().is_some_and(is_disk_full)
}

/// The platform's own fault.
pub(super) fn platform(phase: Phase, error: &(dyn std::error::Error + 'static)) -> BuildFailure {
    if is_disk_full(error) {
        return failure(FailureCode::DiskFull, phase, DISK_FULL);
    }
    failure(FailureCode::PlatformError, phase, format!("the runner failed: {error}"))
}

/// What a checkout that failed means for the build.
pub(super) fn clone_failure(error: GitError) -> BuildFailure {
    let code = match &error {
        GitError::NoBranch(_) | GitError::NoCommit(_) => FailureCode::RevisionNotFound,
        GitError::Unreachable(_) => FailureCode::RepositoryUnreachable,
        GitError::NoSpace => return failure(FailureCode::DiskFull, Phase::Cloning, DISK_FULL),
        GitError::OverLimit(_) | GitError::NoAccess(_) | GitError::NotAllowed(_) => {
            FailureCode::RepositoryUnavailable
        }
    };
    failure(code, Phase::Cloning, error.to_string())
}

/// Resolves when the build must stop: it is told so, or nobody is left to tell.
pub(super) async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    let _told_or_abandoned = cancel.wait_for(|cancel| *cancel).await;
}

/// Tells how far a build had come, where it was a limit that ended it.
pub(super) fn with_peak(failure: BuildFailure, peak: Peak) -> BuildFailure {
    use FailureCode::{OutOfDisk, OutOfMemory, TimedOut};
    let hit_a_limit = matches!(failure.code, OutOfMemory | OutOfDisk | TimedOut);
    let Some(used) = peak.said().filter(|_| hit_a_limit) else { return failure };
    let message = format!("{}; it had used {used}", failure.message.trim_end_matches('.'));
    BuildFailure { message, ..failure }
}

/// Whole seconds, begun ones too.
pub(super) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// Whole MiB, begun ones too.
pub(super) fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

/// A build that was told to stop.
pub(super) fn stopped(watch: &BuildWatch) -> BuildFailure {
    failure(FailureCode::PlatformError, current(watch), "cancelled")
}

/// A build that took longer than its limit.
pub(super) fn timed_out(watch: &BuildWatch, limit: Duration) -> BuildFailure {
    let seconds = limit.as_secs();
    let message = format!("the build took longer than its {seconds} s; raise the builder's limit");
    failure(FailureCode::TimedOut, current(watch), message)
}

fn current(watch: &BuildWatch) -> Phase {
    watch.phase.borrow().unwrap_or(Phase::Cloning)
}

/// The platform's own fault: worth another try.
pub(super) fn cannot_start(error: &(dyn std::error::Error + 'static)) -> StartFailure {
    if is_disk_full(error) {
        let message = DISK_FULL.to_owned();
        return StartFailure { code: FailureCode::DiskFull, message, exit_code: None, retry: true };
    }
    let message = format!("the runner failed: {error}");
    StartFailure { code: FailureCode::PlatformError, message, exit_code: None, retry: true }
}

/// A server that was told to stop while it started.
pub(super) fn stopped_early() -> StartFailure {
    let message = "stopped before it was ready".to_owned();
    StartFailure { code: FailureCode::PlatformError, message, exit_code: None, retry: true }
}

/// A server that ran and was not ready in this time; `why` as far as we know.
pub(super) fn never_ready(port: u16, gate: &HealthGate, waited: Duration, why: &str) -> StartFailure {
    let (path, seconds) = (gate.path(), waited.as_secs_f32());
    let message = format!(
        "the server ran but did not answer GET {path} on port {port} as it should within {seconds:.1} s ({why}); it \
         must listen on the port that PORT tells"
    );
    StartFailure { code: FailureCode::NeverReady, message, exit_code: None, retry: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_that_was_hit_tells_what_was_used() {
        let peak = Peak { memory_mib: Some(512), pids: Some(34), ..Peak::default() };
        let said = |code| with_peak(failure(code, Phase::Building, "It ended."), peak).message;
        let all = "It ended; it had used 512 MiB of memory and 34 processes";
        assert_eq!(said(FailureCode::TimedOut), all);
        assert_eq!(said(FailureCode::OutOfDisk), all);
        assert_eq!(said(FailureCode::BuildFailed), "It ended.");
        let unknown =
            with_peak(failure(FailureCode::TimedOut, Phase::Building, "It ended."), Peak::default());
        assert_eq!(unknown.message, "It ended.");
    }

    #[test]
    fn figures_are_rounded_up() {
        assert_eq!(
            (mebibytes(0), mebibytes(1), mebibytes(1 << 20), mebibytes(u64::MAX)),
            (0, 1, 1, u32::MAX)
        );
        assert_eq!((seconds(Duration::ZERO), seconds(Duration::from_millis(1001))), (0, 2));
    }
}
