//! Builds: what they see, how they end, and that nothing of them stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::build::{FailureCode, Phase};
use domain::ports::runner::{BuildFailure, Built, Code};
use domain::secret::Secret;

use super::kit::{Bench, GOOD, Kind, ODD, SERVER, Watched, eventually, node_version, plan};
use crate::cli::zipped;

pub(super) async fn what_was_built_runs(kind: Kind) {
    let bench = Bench::building(kind, GOOD).await;
    let built = bench.build().await.unwrap();
    assert_eq!(built.node_version, node_version());
    let output = bench.output.text();
    let parts = ["Cloning https://git.test/app at 0123", "$ node --version", "$ npm run build", "Packing"];
    let places: Vec<_> = parts.iter().map(|part| output.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{output}");
    assert!(output.contains("built in /workspace/source\n"), "no path of the machine: {output}");
    assert!(bench.is_clean().await);

    let start = plan(built.artifact);
    let id = start.deployment_id;
    bench.runner.start(start, bench.output.clone()).await.unwrap();
    bench.runner.stop(id, Duration::from_secs(9)).await.unwrap();
}

pub(super) async fn a_build_sees_its_own_variables_and_caches(kind: Kind) {
    let bench = Bench::building(
        kind,
        "const cache = process.env.npm_config_cache;
        require('fs').mkdirSync(cache, { recursive: true });
        console.log(JSON.stringify(process.env)); process.exit(1)",
    )
    .await;
    let failure = bench.build().await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::BuildFailed, Phase::Building));
    let output = bench.output.text();
    let line = output.lines().find(|line| line.starts_with('{')).unwrap();
    let env: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(env["BUILD_FLAG"], "on");
    assert_eq!(env["HOME"], "/workspace/home");
    assert_eq!(env["npm_config_cache"], "/workspace/cache/npm");
    assert!(env["NODE_ENV"] != "production" && env["DATABASE_URL"].is_null(), "{env}");
    assert!(bench.is_clean().await);
}

pub(super) async fn a_build_without_output_is_none(kind: Kind) {
    let bench = Bench::building(kind, "").await;
    let failure = bench.build().await.unwrap_err();
    assert_eq!(failure.code, FailureCode::OutputMissing);
    assert!(bench.is_clean().await);
}

pub(super) async fn a_link_out_of_the_checkout_is_never_packed(kind: Kind) {
    let link = "const fs = require('fs'); fs.mkdirSync('.mastra'); fs.symlinkSync('/etc', '.mastra/output')";
    let bench = Bench::building(kind, link).await;
    assert!(bench.build().await.is_err());
    let inner = "const fs = require('fs'); fs.mkdirSync('.mastra/output', { recursive: true });
        fs.writeFileSync('.mastra/output/index.mjs', ''); fs.symlinkSync('/etc/passwd', '.mastra/output/stolen')";
    let bench_of_links = Bench::building(kind, inner).await;
    assert!(bench_of_links.build().await.is_err());
    assert_eq!((bench.packed(), bench_of_links.packed()), (0, 0));
}

pub(super) async fn too_much_memory_is_said(kind: Kind) {
    let bench = Bench::building(kind, "const hog = []; for (;;) hog.push(Buffer.alloc(16 << 20, 1))").await;
    let failure = bench.build().await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::OutOfMemory, Phase::Building), "{failure}");
    assert!(failure.message.contains("its 512 MiB"), "{failure}");
    assert!(failure.message.contains("; it had used 512 MiB of memory"), "{failure}");
}

pub(super) async fn too_much_on_disk_is_said(kind: Kind) {
    // No file is large.
    let fills = "for (let n = 0; ; n++) require('fs').writeFileSync('file' + n, Buffer.alloc(1 << 20, 1))";
    let bench = Bench::building(kind, fills).await;
    let Watched { mut plan, watch, cancel: _owner, .. } = bench.watched();
    plan.limits.disk_mib = Some(256);
    let failure = bench.runner.build(plan, watch).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::OutOfDisk, Phase::Building), "{failure}");
    assert!(failure.message.contains("its 256 MiB"), "{failure}");
    assert!(bench.is_clean().await);
}

pub(super) async fn what_mastra_noted_beside_the_output_is_told(kind: Kind) {
    let notes = format!(
        "{GOOD} fs.writeFileSync('.mastra/preflight-metadata.json', JSON.stringify({{ userEnvRefs: ['API_KEY'] }}))"
    );
    let bench = Bench::building(kind, &notes).await;
    assert_eq!(bench.build().await.unwrap().env_refs, ["API_KEY"]);
}

pub(super) async fn what_a_build_used_is_told(kind: Kind) {
    let holds = format!(
        "{GOOD} const hog = Buffer.alloc(200 << 20, 1); fs.writeFileSync('big', Buffer.alloc(20 << 20, 1));
        setTimeout(() => console.log(hog.length), 1500);"
    );
    let bench = Bench::building(kind, &holds).await;
    let Watched { plan, watch, cancel: _owner, peak, .. } = bench.watched();
    bench.runner.build(plan, watch).await.unwrap();
    let peak = *peak.borrow();
    assert!(peak.memory_mib.is_some_and(|mebibytes| (200..=512).contains(&mebibytes)), "{peak:?}");
    assert!(peak.pids.is_some_and(|count| (2..256).contains(&count)), "{peak:?}");
    assert!(peak.cpu_seconds.is_some_and(|seconds| seconds >= 1), "{peak:?}");
    assert!(peak.wall_seconds.is_some_and(|seconds| seconds >= 2), "{peak:?}");
    assert!(peak.disk_mib.is_some_and(|mebibytes| (20..200).contains(&mebibytes)), "{peak:?}");
}

pub(super) async fn too_large_a_heap_is_said_too(kind: Kind) {
    let bench =
        Bench::building(kind, "const hog = []; for (;;) hog.push([...'0123456789'.repeat(1000)])").await;
    let failure = bench.build().await.unwrap_err();
    assert_eq!(failure.code, FailureCode::OutOfMemory, "{failure}");
}

pub(super) async fn a_build_that_takes_too_long_is_ended(kind: Kind) {
    let bench = Bench::building(kind, "setInterval(() => {}, 1000)").await;
    let Watched { mut plan, watch, cancel: _owner, .. } = bench.watched();
    plan.limits.timeout_seconds = Some(1);
    let failure = bench.runner.build(plan, watch).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::TimedOut, "{failure}");
    assert!(bench.is_clean().await);
}

pub(super) async fn a_cancelled_build_is_gone_at_once(kind: Kind) {
    let bench = Bench::building(kind, "console.log('up'); setInterval(() => {}, 1000)").await;
    let Watched { plan, watch, cancel, phase, .. } = bench.watched();
    let cancelled = async {
        eventually("it builds", async || bench.output.text().contains("up")).await;
        cancel.send(true).unwrap();
        Instant::now()
    };
    let (failure, since) = tokio::join!(bench.runner.build(plan, watch), cancelled);
    assert!(since.elapsed() < Duration::from_secs(2));
    assert_eq!(failure.unwrap_err().message, "cancelled");
    assert_eq!(*phase.borrow(), Some(Phase::Building));
    assert!(bench.is_clean().await);
}

pub(super) async fn a_build_whose_owner_is_gone_is_ended(kind: Kind) {
    let bench = Bench::building(kind, "console.log('up'); setInterval(() => {}, 1000)").await;
    let Watched { plan, watch, cancel, .. } = bench.watched();
    let abandoned = async {
        eventually("it builds", async || bench.output.text().contains("up")).await;
        drop(cancel);
    };
    let (failure, ()) = tokio::join!(bench.runner.build(plan, watch), abandoned);
    assert_eq!(failure.unwrap_err().message, "cancelled");
}

pub(super) async fn a_build_asked_for_again_replaces_the_first(kind: Kind) {
    let bench =
        Arc::new(Bench::building(kind, "console.log('up'); setTimeout(() => process.exit(1), 1500)").await);
    let first = bench.watched();
    let mut second = bench.watched();
    second.plan.build_id = first.plan.build_id;
    let again = async {
        eventually("it builds", async || bench.output.text().contains("up")).await;
        bench.runner.build(second.plan, second.watch).await
    };
    let (first, second) = tokio::join!(bench.runner.build(first.plan, first.watch), again);
    assert_eq!(first.unwrap_err().message, "cancelled");
    assert_eq!(second.unwrap_err().code, FailureCode::BuildFailed);
    assert!(bench.is_clean().await);
}

pub(super) async fn a_failing_build_says_why(kind: Kind) {
    let bench = Bench::building(kind, "throw new Error('the sky is green')").await;
    let failure = bench.build().await.unwrap_err();
    assert_eq!((failure.code, failure.exit_code), (FailureCode::BuildFailed, Some(1)), "{failure}");
    assert!(failure.message.contains("the sky is green"), "{failure}");
    assert!(bench.output.text().contains("There is no lock file"), "{}", bench.output.text());
    assert!(bench.is_clean().await);
}

pub(super) async fn a_command_that_does_not_exist_is_said(kind: Kind) {
    let bench = Bench::building(kind, GOOD).await;
    let Watched { mut plan, watch, cancel: _owner, .. } = bench.watched();
    plan.install_command = Some("no-such-program --now".parse().unwrap());
    let failure = bench.runner.build(plan, watch).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::InstallFailed, Phase::Installing), "{failure}");
    assert!(bench.is_clean().await);
}

pub(super) async fn values_of_a_build_arrive_byte_for_byte(kind: Kind) {
    let script = "console.log('ODD ' + JSON.stringify(process.env.ODD)); process.exit(1)";
    let bench = Bench::building(kind, script).await;
    let Watched { mut plan, watch, cancel: _owner, .. } = bench.watched();
    plan.env.push(("ODD".parse().unwrap(), Secret::new(ODD)));
    bench.runner.build(plan, watch).await.unwrap_err();
    let output = bench.output.text();
    let line = output.lines().find_map(|line| line.strip_prefix("ODD ")).unwrap();
    assert_eq!(serde_json::from_str::<String>(line).unwrap(), ODD);
}

pub(super) async fn an_overgrown_cache_is_begun_anew(kind: Kind) {
    let script = "const fs = require('fs'); const cache = '/workspace/cache/';
        console.log('FOUND ' + fs.readdirSync(cache).join());
        fs.mkdirSync(cache + 'kept', { recursive: true });
        fs.writeFileSync(cache + 'kept/' + process.env.ADDS, Buffer.alloc(20 << 20, 1)); process.exit(1)";
    let bench = Bench::building(kind, script).await;
    let team = bench.watched().plan.team_id;
    let found = async |adds: &str| {
        let Watched { mut plan, watch, cancel: _owner, .. } = bench.watched();
        plan.team_id = team;
        plan.env.push(("ADDS".parse().unwrap(), Secret::new(adds)));
        let failure = bench.runner.build(plan, watch).await.unwrap_err();
        let output = bench.output.text();
        let line = output.lines().rev().find_map(|line| line.strip_prefix("FOUND ").map(str::to_owned));
        line.unwrap_or_else(|| panic!("{failure}: {output}"))
    };
    let before = [found("one").await, found("two").await, found("three").await];
    // 20 MiB are kept, 40 are too much.
    assert_eq!(before.each_ref().map(|names| names.contains("kept")), [false, true, false], "{before:?}");
}

/// Builds what was uploaded.
async fn upload(bench: &Bench, files: &[(&str, &str)], is_kept: bool) -> Result<Built, BuildFailure> {
    let Watched { mut plan, watch, cancel: _owner, phase, .. } = bench.watched();
    plan.code = Code::Upload(bench.store.keep(zipped(files)));
    plan.install_command = None;
    if !is_kept {
        bench.store.forget();
    }
    let built = bench.runner.build(plan, watch).await;
    assert_ne!(*phase.borrow(), Some(Phase::Building), "it was built already");
    built
}

pub(super) async fn an_upload_is_installed_and_runs(kind: Kind) {
    let bench = Bench::start(kind).await;
    let manifest = format!(r#"{{ "name": "server", "engines": {{ "node": "{}" }} }}"#, node_version());
    let files = [("output/index.mjs", SERVER), ("output/package.json", &manifest)];
    let built = upload(&bench, &files, true).await.unwrap();
    let output = bench.output.text();
    assert!(output.contains("Unpacking the upload") && output.contains("$ npm install"), "{output}");
    assert!(bench.is_clean().await);
    let start = plan(built.artifact);
    let id = start.deployment_id;
    bench.runner.start(start, bench.output.clone()).await.unwrap();
    bench.runner.stop(id, Duration::from_secs(9)).await.unwrap();
}

pub(super) async fn an_upload_that_is_gone_is_said(kind: Kind) {
    let bench = Bench::start(kind).await;
    let failure = upload(&bench, &[("output/index.mjs", SERVER)], false).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::UploadMissing, Phase::Cloning));
    let failure = upload(&bench, &[("../index.mjs", SERVER)], true).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::UploadRefused, Phase::Cloning));
    assert!(bench.is_clean().await);
}
