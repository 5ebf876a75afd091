//! Why a build or a deployment failed, in words a program can compare and a person can act on.

use serde::{Deserialize, Serialize};

/// Stable codes of failures. Stored: never renamed, only added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The repository cannot be read with what the project has.
    RepositoryUnavailable,
    /// What was uploaded is not what a build can be made of.
    UploadRefused,
    /// What was uploaded is not kept any longer.
    UploadMissing,
    /// The branch or commit does not exist.
    RevisionNotFound,
    /// `projectRoot` or the Mastra app in it was not found.
    AppNotFound,
    /// No usable Node or package manager for what the repository asks.
    ToolchainUnavailable,
    /// The lock file does not fit `package.json`.
    LockfileOutOfSync,
    /// Installing the dependencies failed.
    InstallFailed,
    /// The build command failed.
    BuildFailed,
    /// The build ended well but left no `.mastra/output/index.mjs`.
    OutputMissing,
    /// The output could not be packed, or is larger than allowed.
    PackagingFailed,
    /// The memory limit was hit.
    OutOfMemory,
    /// The disk limit was hit.
    OutOfDisk,
    /// The disk of the machine that builds and runs is full: nothing is wrong with the project.
    DiskFull,
    /// The time limit was hit.
    TimedOut,
    /// The server ended before it was ready.
    ExitedBeforeReady,
    /// The server ran but did not answer its health check in time.
    NeverReady,
    /// The server became ready and ended soon after.
    CrashedAfterStart,
    /// The server kept crashing.
    CrashLoop,
    /// The artifact to run is gone.
    ArtifactMissing,
    /// The platform's own fault, after all tries.
    PlatformError,
    /// The package registry could not be reached, after all tries.
    RegistryUnreachable,
    /// The host of the repository could not be reached, after all tries.
    RepositoryUnreachable,
    /// Each worker that took it was lost, after all tries.
    WorkerLost,
    /// It waited too long in the queue.
    QueueTimeout,
}

impl FailureCode {
    /// Whether another try of the same build may end otherwise: what the code of a build does is its own.
    pub fn is_the_platforms_fault(self) -> bool {
        matches!(
            self,
            Self::PlatformError | Self::RegistryUnreachable | Self::RepositoryUnreachable | Self::WorkerLost
        )
    }
}

/// The part of a build that is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Fetching the commit.
    Cloning,
    /// Finding the app, its toolchain, and installing dependencies.
    Installing,
    /// Running the build command.
    Building,
    /// Packing and storing the artifact.
    Packaging,
}
