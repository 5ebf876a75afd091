//! Brings the code of a build, and finds the app in it.

use std::path::Path;

use domain::build::{FailureCode, Phase};
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts};
use domain::ports::git::Git;
use domain::ports::logs::{Output, say};
use domain::ports::runner::{BuildFailure, BuildPlan, Code};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::app::built;
use super::app::detect::{self, App};
use super::blocking;
use super::failures::{DISK_FULL, clone_failure, failure, platform};
use super::unzip::{UnzipError, unzip};

/// Writes the code into the existing empty directory `into`. `scratch` takes what is on its way.
pub(super) async fn fetch(
    (git, uploads): (&dyn Git, &dyn Artifacts),
    plan: &BuildPlan,
    (into, scratch): (&Path, &Path),
    max_bytes: u64,
    output: &dyn Output,
) -> Result<(), BuildFailure> {
    match &plan.code {
        Code::Commit { repository, commit } => {
            say(output, &format!("Cloning {} at {commit}", repository.url));
            git.checkout(repository, commit, into).await.map_err(clone_failure)
        }
        Code::Upload(archive) => {
            say(output, &format!("Unpacking the upload of {} KiB", archive.bytes.div_ceil(1024)));
            unpack(uploads, archive, (into, scratch), max_bytes).await
        }
    }
}

/// The app in what `fetch` has written.
pub(super) async fn find(plan: &BuildPlan, source: &Path) -> Result<App, BuildFailure> {
    let (source, code) = (source.to_owned(), plan.code.clone());
    let (root, mastra) = (plan.project_root.clone(), plan.mastra_directory.clone());
    let found = blocking(move || {
        Ok(match code {
            Code::Commit { .. } => detect::find(&source, &root, &mastra),
            Code::Upload(_) => built::find(&source),
        })
    });
    found.await.map_err(|error| platform(Phase::Installing, &error))?
}

async fn unpack(
    uploads: &dyn Artifacts,
    archive: &Artifact,
    (into, scratch): (&Path, &Path),
    max_bytes: u64,
) -> Result<(), BuildFailure> {
    let zip = scratch.join("upload.zip");
    uploads.get(archive, &zip).await.map_err(|error| match error {
        ArtifactError::Missing(_) => {
            let text = "What was uploaded is not kept any longer. Upload it again.";
            failure(FailureCode::UploadMissing, Phase::Cloning, text)
        }
        ArtifactError::NoSpace => failure(FailureCode::DiskFull, Phase::Cloning, DISK_FULL),
        error => platform(Phase::Cloning, &error),
    })?;
    let (abandoned, into) = (CancellationToken::new(), into.to_owned());
    let _guard = abandoned.clone().drop_guard();
    let unpacking = spawn_blocking(move || {
        let unpacked = unzip(&zip, &into, max_bytes, &abandoned);
        // What is not there takes no room of the build's.
        std::fs::remove_file(&zip).map_err(UnzipError::Disk).and(unpacked)
    });
    let unpacked = unpacking.await.map_err(|error| platform(Phase::Cloning, &error))?;
    unpacked.map_err(|error| match error {
        UnzipError::Refused(why) => {
            let text = format!("What was uploaded cannot be taken: {why}.");
            failure(FailureCode::UploadRefused, Phase::Cloning, text)
        }
        UnzipError::Disk(error) => platform(Phase::Cloning, &error),
        UnzipError::Abandoned => platform(Phase::Cloning, &UnzipError::Abandoned),
    })
}
