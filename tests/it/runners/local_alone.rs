//! What the local runner alone promises: its servers share the ports and the directories of one machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::runner::{Health, Runner};
use providers::runner::local::ServerNetwork;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::kit::{self, Bench, GOOD, Kind, Recorder, SERVER, Shelf, Watched, eventually, get, plan};
use super::own_network::{held, networks};

const OWNER: &str = "RUNNER_TEST_OWNER";

async fn open(data_dir: &Path, artifacts: Arc<Shelf>) -> Arc<dyn Runner> {
    kit::open(Kind::Local, data_dir, "", &[], artifacts).await
}

#[tokio::test]
async fn a_port_set_in_code_is_told_by_message() {
    let bench = Bench::start(Kind::Local).await;
    let told = "() => process.send({ type: 'server-ready', port: server.address().port, host: 'localhost' })";
    let index =
        SERVER.replace("Number(process.env.PORT)", "0").replace("() => console.log('listening')", told);
    let plan = bench.plan(&index);
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let env: Value = serde_json::from_str(&get(started.address(), "/env").await.unwrap()).unwrap();
    assert_ne!(env["PORT"], started.address().port().to_string());
}

#[tokio::test]
async fn the_port_of_somebody_else_is_not_believed() {
    let bench = Bench::networked(Kind::Local, &ServerNetwork::Machine).await;
    let somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = somebody.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = somebody.accept().await {
            let _request = stream.read(&mut [0; 1024]).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}";
            let _cut_off = stream.write_all(answer.as_bytes()).await;
        }
    });
    let index =
        format!("process.send({{ type: 'server-ready', port: {port} }}); setInterval(() => {{}}, 1000)");
    let mut plan = bench.plan(&index);
    plan.start_deadline = Duration::from_secs(2);
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert!(failure.message.contains("another program answers there"), "{failure}");
}

#[tokio::test]
async fn a_port_taken_meanwhile_is_tried_again() {
    let bench = Bench::networked(Kind::Local, &ServerNetwork::Machine).await;
    let unlucky = "
        if (!fs.existsSync(process.env.HOME + '/tried')) {
            fs.writeFileSync(process.env.HOME + '/tried', '');
            throw new Error('listen EADDRINUSE');
        }";
    let plan = bench.plan(&format!("{SERVER}{unlucky}"));
    bench.runner.start(plan, bench.output.clone()).await.unwrap();
    assert!(bench.output.text().contains("trying another one"), "{}", bench.output.text());
}

#[tokio::test]
async fn what_was_built_starts_without_the_store_and_without_tokens() {
    let leaky = format!(
        "{GOOD} fs.writeFileSync('.mastra/output/.npmrc', '//registry.test/:_authToken=abc');
        fs.mkdirSync('.mastra/output/node_modules/m', {{ recursive: true }});
        fs.writeFileSync('.mastra/output/node_modules/m/.npmrc', 'token=abc');
        fs.writeFileSync('.mastra/output/node_modules/m/index.js', '');"
    );
    let bench = Bench::building(Kind::Local, &leaky).await;
    let Watched { plan: wanted, watch, cancel: _owner, .. } = bench.watched();
    let team = wanted.team_id;
    let built = bench.runner.build(wanted, watch).await.unwrap();
    bench.store.forget();
    let mut start = plan(built.artifact);
    start.team_id = team;
    let started = bench.runner.start(start, bench.output.clone()).await.unwrap();
    let files = get(started.address(), "/files").await.unwrap();
    assert_eq!(files, r#"["index.mjs","node_modules","node_modules/m","node_modules/m/index.js"]"#);
}

#[tokio::test]
async fn nothing_outlives_a_killed_platform() {
    if let Ok(data_dir) = std::env::var(OWNER) {
        return be_killed(Path::new(&data_dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "runners::local_alone::nothing_outlives_a_killed_platform";
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args(["--exact", name, "--nocapture"]).env(OWNER, dir.path()).stdout(Stdio::piped());
    let mut owner = owner.spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.filter_map(|line| line.strip_prefix("at ").map(str::to_owned)).next().unwrap();
    assert!(get(address.parse().unwrap(), "/health").await.is_ok());
    let groups = groups(dir.path());
    assert!(groups.iter().all(|group| group.exists()));
    let networks = networks(dir.path());
    assert!(networks.len() == 1 && held(networks[0]));

    owner.kill().unwrap();
    owner.wait().unwrap();
    let next = open(dir.path(), Arc::default()).await;
    next.sweep(&[]).await.unwrap();
    assert!(get(address.parse().unwrap(), "/health").await.is_err());
    assert!(!groups.iter().any(|group| group.exists()) && !held(networks[0]));
    let is_empty = |name: &str| fs::read_dir(dir.path().join(name)).unwrap().next().is_none();
    assert!(is_empty("servers") && is_empty("run"));
}

/// Runs a server, says where, and waits for the end.
#[expect(clippy::print_stdout, reason = "who started it reads where the server is")]
async fn be_killed(data_dir: &Path) {
    let store = Arc::new(Shelf::default());
    let artifact = store.pack(&[("index.mjs", SERVER)]);
    let runner = open(data_dir, store).await;
    let started = runner.start(plan(artifact), Arc::new(Recorder::default())).await.unwrap();
    println!("\nat {}", started.address());
    std::future::pending().await
}

/// The control groups of everything that has a record.
fn groups(data_dir: &Path) -> Vec<PathBuf> {
    let records =
        fs::read_dir(data_dir.join("run")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let records = records.map(|text| serde_json::from_slice::<Value>(&text).unwrap());
    records
        .flat_map(|record| serde_json::from_value::<Vec<PathBuf>>(record["cgroup"].clone()).unwrap())
        .collect()
}

#[tokio::test]
async fn sweeping_spares_this_life_and_what_is_to_be_kept() {
    let bench = Bench::start(Kind::Local).await;
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
    bench.runner.stop(running, Duration::from_secs(9)).await.unwrap();
    let records = bench.dir.path().join("run");
    eventually("its record is gone", async || fs::read_dir(&records).unwrap().next().is_none()).await;
}
