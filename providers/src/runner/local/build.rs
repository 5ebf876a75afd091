//! A build from the clone to the packed artifact.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::build::{FailureCode, Phase};
use domain::ports::artifacts::Artifact;
use domain::ports::git::GitError;
use domain::ports::logs::say;
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch, Built};
use domain::values::{CommandLine, Resources};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::commands::Commands;
use super::sandbox::Claim;
use super::{Inner, blocking, directories};
use crate::runner::app::{detect, explain, package};

/// Builds, and leaves neither a process nor a file behind, whatever happens.
pub(super) async fn build(
    inner: Arc<Inner>,
    plan: BuildPlan,
    watch: BuildWatch,
    abandoned: CancellationToken,
) -> Result<Built, BuildFailure> {
    let limits = plan.limits.or(Resources::BUILD);
    let seconds = limits.timeout_seconds.unwrap_or_default();
    let claim = inner.sandbox.claim(&format!("build-{}", plan.build_id)).await;
    let claim = claim.map_err(|error| platform(Phase::Cloning, &error))?;
    let dir = inner.builds.join(plan.build_id.to_string());
    let mut cancel = watch.cancel.clone();
    let outcome = tokio::select! {
        outcome = steps(&inner, &plan, limits, &watch, &claim, &dir) => outcome,
        () = cancelled(&mut cancel) => Err(stopped(&watch)),
        () = claim.wanted() => Err(stopped(&watch)),
        () = abandoned.cancelled() => Err(stopped(&watch)),
        () = sleep(Duration::from_secs(seconds.into())) => {
            let message = format!("the build took longer than its {seconds} s; raise the builder's limit");
            Err(failure(FailureCode::TimedOut, current(&watch), message))
        }
    };
    claim.end().await;
    clear(dir).await;
    watch.output.flush().await;
    outcome
}

async fn steps(
    inner: &Inner,
    plan: &BuildPlan,
    limits: Resources,
    watch: &BuildWatch,
    claim: &Arc<Claim>,
    dir: &Path,
) -> Result<Built, BuildFailure> {
    let output = &*watch.output;
    watch.phase.send_replace(Some(Phase::Cloning));
    let source = dir.join("source");
    prepare(dir).await.map_err(|error| platform(Phase::Cloning, &error))?;
    say(output, &format!("Cloning {} at {}", plan.repository.url, plan.commit));
    inner.git.checkout(&plan.repository, &plan.commit, &source).await.map_err(clone_failure)?;

    watch.phase.send_replace(Some(Phase::Installing));
    let installing = |error: io::Error| platform(Phase::Installing, &error);
    let (checkout, root, mastra) = (source.clone(), plan.project_root.clone(), plan.mastra_directory.clone());
    let app = blocking(move || Ok(detect::find(&checkout, &root, &mastra))).await.map_err(installing)??;
    for warning in &app.warnings {
        say(output, &format!("Warning: {warning}"));
    }
    let toolchain = inner.toolchains.prepare(&app).await?;
    say(output, &format!("Using Node {}", toolchain.node_version));
    let (user, caches, team) = (inner.sandbox.user(plan.team_id), inner.caches.clone(), plan.team_id);
    let own = ["source", "home", "tmp"].map(|name| dir.join(name));
    let cache = blocking(move || {
        own.iter().try_for_each(|dir| directories::give(dir, user))?;
        caches.open(team, user)
    });
    let cache = cache.await.map_err(installing)?;
    let commands =
        Commands { plan, limits, watch, claim, dir, app: &app, toolchain: &toolchain, cache: &cache };
    let install = argv(plan.install_command.as_ref(), &app.install);
    commands.run(Phase::Installing, &install, &app.install_root, explain::explain_install).await?;

    watch.phase.send_replace(Some(Phase::Building));
    let build = argv(plan.build_command.as_ref(), &app.build);
    commands.run(Phase::Building, &build, &app.project_root, explain::explain_build).await?;

    watch.phase.send_replace(Some(Phase::Packaging));
    say(output, "Packing the artifact");
    let max_bytes = u64::from(limits.disk_mib.unwrap_or_default()) << 20;
    let built = app.project_root.join(".mastra/output");
    let packed = package::pack(&built, max_bytes, &*inner.artifacts, &dir.join("scratch")).await?;
    for warning in &packed.warnings {
        say(output, &format!("Warning: {warning}"));
    }
    keep(inner, plan, &packed.artifact, built).await;
    let warnings = app.warnings.into_iter().chain(packed.warnings).collect();
    let (artifact, env_refs) = (packed.artifact, packed.env_refs);
    Ok(Built { artifact, node_version: toolchain.node_version, warnings, env_refs })
}

/// Leaves the output to the deployments that follow. They do without, if that fails.
async fn keep(inner: &Inner, plan: &BuildPlan, artifact: &Artifact, output: PathBuf) {
    let (user, unpacked, artifact) =
        (inner.sandbox.user(plan.team_id), inner.unpacked.clone(), artifact.clone());
    let kept = blocking(move || {
        package::strip(&output)?;
        unpacked.adopt(&artifact, user, &output).map(drop)
    });
    if let Err(error) = kept.await {
        tracing::warn!(build.id = %plan.build_id, %error, "the output of build {} was not kept", plan.build_id);
    }
}

fn argv(own: Option<&CommandLine>, usual: &[String]) -> Vec<String> {
    own.map_or_else(|| usual.to_vec(), CommandLine::argv)
}

async fn prepare(dir: &Path) -> io::Result<()> {
    let dir = dir.to_owned();
    blocking(move || {
        directories::renew(&dir)?;
        ["source", "home", "tmp", "scratch"].iter().try_for_each(|name| fs::create_dir(dir.join(name)))
    })
    .await
}

/// Resolves when the build must stop: it is told so, or nobody is left to tell.
async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    let _told_or_abandoned = cancel.wait_for(|cancel| *cancel).await;
}

/// Removes a directory in which nothing runs any more. What does not go now, goes with the next sweep.
pub(super) async fn clear(dir: PathBuf) {
    let removed = {
        let dir = dir.clone();
        blocking(move || directories::remove(&dir)).await
    };
    if let Err(error) = removed {
        tracing::warn!(dir = %dir.display(), %error, "{} could not be removed", dir.display());
    }
}

fn current(watch: &BuildWatch) -> Phase {
    watch.phase.borrow().unwrap_or(Phase::Cloning)
}

fn stopped(watch: &BuildWatch) -> BuildFailure {
    failure(FailureCode::PlatformError, current(watch), "cancelled")
}

/// A failure without an exit code.
pub(super) fn failure(code: FailureCode, phase: Phase, message: impl Into<String>) -> BuildFailure {
    BuildFailure { code, phase, message: message.into(), exit_code: None }
}

/// The platform's own fault.
pub(super) fn platform(phase: Phase, error: &dyn std::error::Error) -> BuildFailure {
    failure(FailureCode::PlatformError, phase, format!("the runner failed: {error}"))
}

fn clone_failure(error: GitError) -> BuildFailure {
    let code = match &error {
        GitError::NoBranch(_) | GitError::NoCommit(_) => FailureCode::RevisionNotFound,
        GitError::OverLimit(_)
        | GitError::NoAccess(_)
        | GitError::NotAllowed(_)
        | GitError::Unreachable(_) => FailureCode::RepositoryUnavailable,
    };
    failure(code, Phase::Cloning, error.to_string())
}
