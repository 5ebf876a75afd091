//! What the next life does about what the last one left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use domain::ports::runner::{Health, Runner};

use super::kit::{Bench, Recorder, SERVER, Shelf, eventually, get, open, plan};

const OWNER: &str = "RUNNER_TEST_OWNER";

#[tokio::test]
async fn nothing_outlives_a_killed_platform() {
    if let Ok(data_dir) = std::env::var(OWNER) {
        return be_killed(Path::new(&data_dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "runner::local::tests::sweeping::nothing_outlives_a_killed_platform";
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args(["--exact", name, "--nocapture"]).env(OWNER, dir.path()).stdout(Stdio::piped());
    let mut owner = owner.spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.filter_map(|line| line.strip_prefix("at ").map(str::to_owned)).next().unwrap();
    assert!(get(address.parse().unwrap(), "/health").await.is_ok());
    let groups = groups(dir.path());
    assert!(groups.iter().all(|group| group.exists()));

    owner.kill().unwrap();
    owner.wait().unwrap();
    let next = open(dir.path(), &[], Arc::new(Shelf::default())).await;
    next.sweep(&[]).await.unwrap();
    assert!(get(address.parse().unwrap(), "/health").await.is_err());
    assert!(!groups.iter().any(|group| group.exists()));
    let is_empty = |name: &str| fs::read_dir(dir.path().join(name)).unwrap().next().is_none();
    assert!(is_empty("servers") && is_empty("run"));
}

/// Runs a server, says where, and waits for the end.
async fn be_killed(data_dir: &Path) {
    let store = Arc::new(Shelf::default());
    let artifact = store.pack(&[("index.mjs", SERVER)]);
    let runner = open(data_dir, &[], store).await;
    let started = runner.start(plan(artifact), Arc::new(Recorder::default())).await.unwrap();
    println!("\nat {}", started.address);
    std::future::pending().await
}

/// The control groups of everything that has a record.
fn groups(data_dir: &Path) -> Vec<PathBuf> {
    let records =
        fs::read_dir(data_dir.join("run")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let records = records.map(|text| serde_json::from_slice::<serde_json::Value>(&text).unwrap());
    records
        .flat_map(|record| serde_json::from_value::<Vec<PathBuf>>(record["cgroup"].clone()).unwrap())
        .collect()
}

#[tokio::test]
async fn sweeping_spares_this_life_and_what_is_to_be_kept() {
    let bench = Bench::start().await;
    let plan = bench.plan(SERVER);
    let (running, kept) = (plan.deployment_id, bench.plan("").deployment_id);
    bench.runner.start(plan, bench.output.clone()).await.unwrap();
    for left in [format!("servers/{kept}"), "servers/left".to_owned(), "builds/left/deep".to_owned()] {
        fs::create_dir_all(bench.dir.path().join(left)).unwrap();
    }
    bench.runner.sweep(&[kept]).await.unwrap();
    assert_eq!(bench.runner.health(running).await, Health::Healthy);
    assert!(bench.dir.path().join(format!("servers/{kept}")).exists());
    assert!(bench.dir.path().join(format!("servers/{running}")).exists());
    assert!(!bench.dir.path().join("servers/left").exists());
    assert!(!bench.dir.path().join("builds/left").exists());
    bench.runner.stop(running, std::time::Duration::from_secs(9)).await.unwrap();
    eventually("its record is gone", || fs::read_dir(bench.dir.path().join("run")).unwrap().next().is_none())
        .await;
}
