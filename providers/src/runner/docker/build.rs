//! A build from its code to the packed artifact, its commands each in a container.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::build::{FailureCode, Peak, Phase};
use domain::ports::logs::say;
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch, Built};
use domain::values::{CommandLine, Resources};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::commands::{Commands, SOURCE};
use super::engine::EngineError;
use super::{Inner, names};
use crate::runner::app::detect::App;
use crate::runner::app::{explain, package};
use crate::runner::blocking;
use crate::runner::code;
use crate::runner::directories::{self, clear};
use crate::runner::failures::{self, DISK_FULL, cancelled, failure, platform, stopped, timed_out};

/// Builds, and leaves neither a container nor a file behind, whatever happens.
pub(super) async fn build(
    inner: Arc<Inner>,
    plan: BuildPlan,
    watch: BuildWatch,
    abandoned: CancellationToken,
) -> Result<Built, BuildFailure> {
    let begun = Instant::now();
    let limits = plan.limits.or(Resources::BUILD);
    let limit = Duration::from_secs(limits.timeout_seconds.unwrap_or_default().into());
    let owner = names::build(plan.build_id);
    let claim = inner.claims.claim(&owner).await.map_err(|error| platform(Phase::Cloning, &error))?;
    let dir = inner.builds.join(plan.build_id.to_string());
    let mut cancel = watch.cancel.clone();
    let used = Mutex::default();
    let outcome = tokio::select! {
        outcome = steps(&inner, &plan, (limits, &used), &watch, &owner, &dir) => outcome,
        () = cancelled(&mut cancel) => Err(stopped(&watch)),
        () = claim.wanted() => Err(stopped(&watch)),
        () = abandoned.cancelled() => Err(stopped(&watch)),
        () = sleep(limit) => Err(timed_out(&watch, limit)),
    };
    let used = used.into_inner().unwrap_or_else(PoisonError::into_inner);
    let peak = Peak { wall_seconds: Some(failures::seconds(begun.elapsed())), ..used };
    watch.peak.send_replace(peak);
    inner.discard(&owner).await;
    clear(dir).await;
    drop(claim);
    watch.output.flush().await;
    outcome.map_err(|failure| failures::with_peak(failure, peak))
}

async fn steps(
    inner: &Arc<Inner>,
    plan: &BuildPlan,
    (limits, used): (Resources, &Mutex<Peak>),
    watch: &BuildWatch,
    owner: &str,
    dir: &Path,
) -> Result<Built, BuildFailure> {
    let output = &*watch.output;
    watch.phase.send_replace(Some(Phase::Cloning));
    let cloning = |error: EngineError| platform(Phase::Cloning, &error);
    // What an earlier try has left. An engine that is away is told of before anything is fetched.
    inner.remove(owner).await.map_err(cloning)?;
    let source = dir.join("source");
    prepare(dir).await.map_err(|error| platform(Phase::Cloning, &error))?;
    let max_bytes = u64::from(limits.disk_mib.unwrap_or_default()) << 20;
    let (origins, places) = ((&*inner.git, &*inner.uploads), (&*source, &*dir.join("scratch")));
    code::fetch(origins, plan, places, max_bytes, output).await?;

    watch.phase.send_replace(Some(Phase::Installing));
    let app = code::find(plan, &source).await?;
    for warning in &app.warnings {
        say(output, &format!("Warning: {warning}"));
    }
    let commands = Commands::prepare(inner, plan, (limits, used), watch, &app, &source).await?;
    say(output, &format!("Using Node {}", commands.toolchain.node_version));
    let install = argv(plan.install_command.as_ref(), &app.install);
    let mut last = commands.container(Phase::Installing, &install, &app.install_root).await?;
    commands.fill(&last, source.clone()).await?;
    commands.run(Phase::Installing, &install, last.clone(), explain::explain_install).await?;

    let build = argv(plan.build_command.as_ref(), &app.build);
    if !build.is_empty() {
        watch.phase.send_replace(Some(Phase::Building));
        last = commands.container(Phase::Building, &build, &app.project_root).await?;
        commands.run(Phase::Building, &build, last.clone(), explain::explain_build).await?;
    }

    watch.phase.send_replace(Some(Phase::Packaging));
    say(output, "Packing the artifact");
    let built = bring(inner, &last, &app, dir, max_bytes).await?;
    let packed = package::pack(&built, max_bytes, &*inner.artifacts, &dir.join("scratch")).await?;
    for warning in &packed.warnings {
        say(output, &format!("Warning: {warning}"));
    }
    let warnings = app.warnings.iter().cloned().chain(packed.warnings).collect();
    let (artifact, env_refs) = (packed.artifact, packed.env_refs);
    Ok(Built { artifact, node_version: commands.toolchain.node_version, warnings, env_refs })
}

/// Brings the output of a build here, to be packed. A build without output gives an empty directory.
async fn bring(
    inner: &Inner,
    container: &str,
    app: &App,
    dir: &Path,
    max_bytes: u64,
) -> Result<PathBuf, BuildFailure> {
    let below = app.output.strip_prefix(dir.join("source").canonicalize().unwrap_or_default());
    let output = Path::new(SOURCE).join(below.unwrap_or(Path::new("")));
    let notes = output.with_file_name(package::NOTES);
    let built = dir.join("built/.mastra/output");
    let engine = |error: EngineError| platform(Phase::Packaging, &error);
    for (path, into) in [(output, built.clone()), (notes, built.with_file_name(package::NOTES))] {
        let is_output = into == built;
        let taken = inner.engine.take(container, &path.display().to_string(), into, max_bytes).await;
        match taken {
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(engine(error)),
            Ok(Err(error)) if is_output => return Err(unusable(&error)),
            // Notes are a convenience.
            Ok(_) => {}
        }
    }
    built.canonicalize().map_err(|error| platform(Phase::Packaging, &error))
}

fn unusable(error: &io::Error) -> BuildFailure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure(FailureCode::DiskFull, Phase::Packaging, DISK_FULL)
        }
        _ => failure(
            FailureCode::PackagingFailed,
            Phase::Packaging,
            format!("`.mastra/output` cannot be packed: {error}."),
        ),
    }
}

fn argv(own: Option<&CommandLine>, usual: &[String]) -> Vec<String> {
    own.map_or_else(|| usual.to_vec(), CommandLine::argv)
}

async fn prepare(dir: &Path) -> io::Result<()> {
    let dir = dir.to_owned();
    blocking(move || {
        directories::renew(&dir)?;
        let names = ["source", "scratch", "built/.mastra/output"];
        names.iter().try_for_each(|name| std::fs::create_dir_all(dir.join(name)))
    })
    .await
}
