//! What is said about a command that hit one of its limits.

use domain::build::FailureCode;
use domain::values::Resources;

use super::sandbox::{Ended, Excess};

/// Whether memory ran out: the sandbox's, or the part of it that Node may use for its heap.
pub(super) fn out_of_memory(ended: Ended, tail: &str) -> bool {
    ended.excess == Some(Excess::Memory) || tail.contains("JavaScript heap out of memory")
}

/// The failure and what to do about it; `who` (`build` or `server`) is whose limits they are.
pub(super) fn explain(
    who: &str,
    limits: Resources,
    ended: Ended,
    tail: &str,
) -> Option<(FailureCode, String)> {
    let (code, did, mebibytes) = if out_of_memory(ended, tail) {
        (FailureCode::OutOfMemory, "needed more memory than", limits.memory_mib)
    } else if ended.excess == Some(Excess::Disk) {
        (FailureCode::OutOfDisk, "wrote more to disk than", limits.disk_mib)
    } else {
        return None;
    };
    let mebibytes = mebibytes.unwrap_or_default();
    Some((code, format!("the {who} {did} its {mebibytes} MiB: raise the limit in the project's resources")))
}
