//! A build from its code to the packed artifact.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::build::{Peak, Phase};
use domain::ports::artifacts::Artifact;
use domain::ports::logs::say;
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch, Built};
use domain::values::{CommandLine, Resources};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::commands::Commands;
use super::reuse::Reuse;
use super::sandbox::Claim;
use crate::runner::app::package;
use crate::runner::blocking;
use crate::runner::code;
use crate::runner::directories::{self, clear};
use crate::runner::failures::{self, cancelled, platform, stopped, timed_out};

/// Builds, and leaves neither a process nor a file behind, whatever happens.
pub(super) async fn build(
    inner: Arc<Inner>,
    plan: BuildPlan,
    watch: BuildWatch,
    abandoned: CancellationToken,
) -> Result<Built, BuildFailure> {
    let begun = Instant::now();
    let limits = plan.limits.or(Resources::BUILD);
    let limit = Duration::from_secs(limits.timeout_seconds.unwrap_or_default().into());
    let claim = inner.sandbox.claim(&format!("build-{}", plan.build_id)).await;
    let claim = claim.map_err(|error| platform(Phase::Cloning, &error))?;
    let dir = inner.builds.join(plan.build_id.to_string());
    let mut cancel = watch.cancel.clone();
    let outcome = tokio::select! {
        outcome = steps(&inner, &plan, limits, &watch, &claim, &dir) => outcome,
        () = cancelled(&mut cancel) => Err(stopped(&watch)),
        () = claim.wanted() => Err(stopped(&watch)),
        () = abandoned.cancelled() => Err(stopped(&watch)),
        () = sleep(limit) => Err(timed_out(&watch, limit)),
    };
    claim.end().await;
    let peak = Peak { wall_seconds: Some(failures::seconds(begun.elapsed())), ..claim.peak() };
    watch.peak.send_replace(peak);
    let outcome = match outcome {
        Ok((built, reuse)) => {
            reuse.leave(&inner.modules, &plan, &built.artifact).await;
            Ok(built)
        }
        Err(failure) => Err(failure),
    };
    clear(dir).await;
    watch.output.flush().await;
    outcome.map_err(|failure| failures::with_peak(failure, peak))
}

async fn steps(
    inner: &Inner,
    plan: &BuildPlan,
    limits: Resources,
    watch: &BuildWatch,
    claim: &Arc<Claim>,
    dir: &Path,
) -> Result<(Built, Reuse), BuildFailure> {
    let output = &*watch.output;
    watch.phase.send_replace(Some(Phase::Cloning));
    let source = dir.join("source");
    prepare(dir).await.map_err(|error| platform(Phase::Cloning, &error))?;
    let max_bytes = u64::from(limits.disk_mib.unwrap_or_default()) << 20;
    let (origins, places) = ((&*inner.git, &*inner.uploads), (&*source, &*dir.join("scratch")));
    code::fetch(origins, plan, places, max_bytes, output).await?;

    watch.phase.send_replace(Some(Phase::Installing));
    let installing = |error: io::Error| platform(Phase::Installing, &error);
    let app = code::find(plan, &source).await?;
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
    let egress = inner.egress.as_ref();
    let commands =
        Commands { plan, limits, watch, claim, dir, app: &app, toolchain: &toolchain, cache: &cache, egress };
    let mut reuse = Reuse::begin(inner, plan, (&app, &toolchain), dir, max_bytes).await;
    reuse.install(&commands, &argv(plan.install_command.as_ref(), &app.install)).await?;

    let build = argv(plan.build_command.as_ref(), &app.build);
    if !build.is_empty() {
        watch.phase.send_replace(Some(Phase::Building));
        reuse.build(inner, &commands, &build).await?;
    }

    watch.phase.send_replace(Some(Phase::Packaging));
    say(output, "Packing the artifact");
    let packed = package::pack(&app.output, max_bytes, &*inner.artifacts, &dir.join("scratch")).await?;
    for warning in &packed.warnings {
        say(output, &format!("Warning: {warning}"));
    }
    keep(inner, plan, &packed.artifact, app.output).await;
    let warnings = app.warnings.into_iter().chain(packed.warnings).collect();
    let (artifact, env_refs) = (packed.artifact, packed.env_refs);
    Ok((Built { artifact, node_version: toolchain.node_version, warnings, env_refs }, reuse))
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
