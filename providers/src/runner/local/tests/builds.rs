//! Builds: what they see, how they end, and that nothing of them stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::build::{FailureCode, Phase};
use domain::ids::{BuildId, ProjectId, TeamId};
use domain::ports::git::Repository;
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch, Built, Runner};
use domain::secret::Secret;
use domain::values::Resources;
use tokio::sync::watch;
use uuid::Uuid;

use super::kit::{Bench, SERVER, eventually, get, plan};

/// An app whose build is a script of its own; it takes the machine's Node, so that nothing is fetched.
fn manifest() -> String {
    let node = super::kit::node_version();
    format!(
        r#"{{"name":"app","scripts":{{"build":"node build.js"}},"engines":{{"node":"{node}"}},
        "dependencies":{{"@mastra/core":"1"}}}}"#
    )
}

/// Writes a server as `mastra build` would.
const GOOD: &str = "const fs = require('fs');
    fs.mkdirSync('.mastra/output', { recursive: true });
    fs.copyFileSync('server.mjs', '.mastra/output/index.mjs');
    console.log('built in', process.cwd());";

struct Watched {
    plan: BuildPlan,
    watch: BuildWatch,
    cancel: watch::Sender<bool>,
    phase: watch::Receiver<Option<Phase>>,
}

async fn bench(build: &str) -> Bench {
    Bench::of(&[("package.json", &manifest()), ("build.js", build), ("server.mjs", SERVER)]).await
}

fn watched(bench: &Bench) -> Watched {
    let (phase, phases) = watch::channel(None);
    let (cancel, cancelled) = watch::channel(false);
    let plan = BuildPlan {
        build_id: BuildId(Uuid::now_v7()),
        project_id: ProjectId(Uuid::now_v7()),
        team_id: TeamId(Uuid::now_v7()),
        repository: Repository { url: "https://git.test/app".parse().unwrap(), token: None },
        commit: "0123456789012345678901234567890123456789".parse().unwrap(),
        project_root: ".".parse().unwrap(),
        mastra_directory: "src/mastra".parse().unwrap(),
        install_command: Some("node --version".parse().unwrap()),
        build_command: None,
        env: vec![("BUILD_FLAG".parse().unwrap(), Secret::new("on"))],
        limits: Resources { memory_mib: Some(512), ..Resources::default() },
    };
    let output = bench.output.clone();
    Watched { plan, watch: BuildWatch { output, phase, cancel: cancelled }, cancel, phase: phases }
}

async fn build(bench: &Bench) -> Result<Built, BuildFailure> {
    let Watched { plan, watch, cancel: _owner, .. } = watched(bench);
    bench.runner.build(plan, watch).await
}

#[tokio::test]
async fn what_was_built_runs() {
    let bench = bench(GOOD).await;
    let built = build(&bench).await.unwrap();
    assert_eq!(built.node_version, super::kit::node_version());
    let output = bench.output.text();
    let parts = ["Cloning https://git.test/app at 0123", "$ node --version", "$ npm run build", "Packing"];
    let places: Vec<_> = parts.iter().map(|part| output.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{output}");
    assert!(output.contains("built in /workspace/source\n"), "no path of the machine: {output}");
    assert!(bench.is_clean());

    let start = plan(built.artifact);
    let id = start.deployment_id;
    bench.runner.start(start, bench.output.clone()).await.unwrap();
    bench.runner.stop(id, Duration::from_secs(9)).await.unwrap();
}

#[tokio::test]
async fn what_was_built_starts_without_the_store_and_without_tokens() {
    let leaky = format!(
        "{GOOD} fs.writeFileSync('.mastra/output/.npmrc', '//registry.test/:_authToken=abc');
        fs.mkdirSync('.mastra/output/node_modules/m', {{ recursive: true }});
        fs.writeFileSync('.mastra/output/node_modules/m/.npmrc', 'token=abc');
        fs.writeFileSync('.mastra/output/node_modules/m/index.js', '');"
    );
    let bench = bench(&leaky).await;
    let Watched { plan: wanted, watch, cancel: _owner, .. } = watched(&bench);
    let team = wanted.team_id;
    let built = bench.runner.build(wanted, watch).await.unwrap();
    bench.forget_artifacts();
    let mut start = plan(built.artifact);
    start.team_id = team;
    let started = bench.runner.start(start, bench.output.clone()).await.unwrap();
    let files = get(started.address, "/files").await.unwrap();
    assert_eq!(files, r#"["index.mjs","node_modules","node_modules/m","node_modules/m/index.js"]"#);
}

#[tokio::test]
async fn a_build_sees_its_own_variables_and_caches() {
    let bench = bench("console.log(JSON.stringify(process.env)); process.exit(1)").await;
    let failure = build(&bench).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::BuildFailed, Phase::Building));
    let output = bench.output.text();
    let line = output.lines().find(|line| line.starts_with('{')).unwrap();
    let env: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(env["BUILD_FLAG"], "on");
    assert_eq!(env["HOME"], "/workspace/home");
    assert_eq!(env["npm_config_cache"], "/workspace/cache/npm");
    assert!(env["NODE_ENV"] != "production" && env["DATABASE_URL"].is_null(), "{env}");
    assert!(bench.is_clean());
}

#[tokio::test]
async fn a_build_without_output_is_none() {
    let bench = bench("").await;
    let failure = build(&bench).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::OutputMissing);
    assert!(bench.is_clean());
}

#[tokio::test]
async fn a_link_out_of_the_checkout_is_never_packed() {
    let link = "const fs = require('fs'); fs.mkdirSync('.mastra'); fs.symlinkSync('/etc', '.mastra/output')";
    let bench = bench(link).await;
    assert!(build(&bench).await.is_err());
    let inner = "const fs = require('fs'); fs.mkdirSync('.mastra/output', { recursive: true });
        fs.writeFileSync('.mastra/output/index.mjs', ''); fs.symlinkSync('/etc/passwd', '.mastra/output/stolen')";
    let bench_of_links = self::bench(inner).await;
    assert!(build(&bench_of_links).await.is_err());
    assert_eq!((bench.packed(), bench_of_links.packed()), (0, 0));
}

#[tokio::test]
async fn too_much_memory_is_said() {
    let bench = bench("const hog = []; for (;;) hog.push(Buffer.alloc(16 << 20, 1))").await;
    let failure = build(&bench).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (FailureCode::OutOfMemory, Phase::Building), "{failure}");
    assert!(failure.message.contains("512 MiB"), "{failure}");
}

#[tokio::test]
async fn too_large_a_heap_is_said_too() {
    let bench = bench("const hog = []; for (;;) hog.push([...'0123456789'.repeat(1000)])").await;
    let failure = build(&bench).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::OutOfMemory, "{failure}");
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_ended() {
    let bench = bench("setInterval(() => {}, 1000)").await;
    let Watched { mut plan, watch, cancel: _owner, .. } = watched(&bench);
    plan.limits.timeout_seconds = Some(1);
    let failure = bench.runner.build(plan, watch).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::TimedOut, "{failure}");
    assert!(bench.is_clean());
}

#[tokio::test]
async fn a_cancelled_build_is_gone_at_once() {
    let bench = bench("console.log('up'); setInterval(() => {}, 1000)").await;
    let Watched { plan, watch, cancel, phase } = watched(&bench);
    let cancelled = async {
        eventually("it builds", || bench.output.text().contains("up")).await;
        cancel.send(true).unwrap();
        Instant::now()
    };
    let (failure, since) = tokio::join!(bench.runner.build(plan, watch), cancelled);
    assert!(since.elapsed() < Duration::from_secs(2));
    assert_eq!(failure.unwrap_err().message, "cancelled");
    assert_eq!(*phase.borrow(), Some(Phase::Building));
    assert!(bench.is_clean());
}

#[tokio::test]
async fn a_build_whose_owner_is_gone_is_ended() {
    let bench = bench("console.log('up'); setInterval(() => {}, 1000)").await;
    let Watched { plan, watch, cancel, .. } = watched(&bench);
    let abandoned = async {
        eventually("it builds", || bench.output.text().contains("up")).await;
        drop(cancel);
    };
    let (failure, ()) = tokio::join!(bench.runner.build(plan, watch), abandoned);
    assert_eq!(failure.unwrap_err().message, "cancelled");
}

#[tokio::test]
async fn a_build_asked_for_again_replaces_the_first() {
    let bench = Arc::new(bench("console.log('up'); setTimeout(() => process.exit(1), 1500)").await);
    let first = watched(&bench);
    let mut second = watched(&bench);
    second.plan.build_id = first.plan.build_id;
    let again = async {
        eventually("it builds", || bench.output.text().contains("up")).await;
        bench.runner.build(second.plan, second.watch).await
    };
    let (first, second) = tokio::join!(bench.runner.build(first.plan, first.watch), again);
    assert_eq!(first.unwrap_err().message, "cancelled");
    assert_eq!(second.unwrap_err().code, FailureCode::BuildFailed);
    assert!(bench.is_clean());
}
