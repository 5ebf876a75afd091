//! What only the Docker runner does: containers, networks, an engine that goes away, servers that go on.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::build::FailureCode;
use domain::ports::runner::{Health, StartPlan};
use domain::values::HealthGate;
use serde_json::Value;
use tests::docker::{self, Engine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Mutex, Notify};

use crate::engine_api;

use super::kit::{Bench, Kind, Recorder, SERVER, Watched, app, eventually, get};

const LONG: Duration = Duration::from_secs(30);

/// Tries to reach an address that it is told, and says what came of it.
const REACHER: &str = r#"
import http from 'node:http';
http.createServer((request, response) => {
  if (request.url === '/health') return response.end('{"success":true}');
  const other = http.get('http://' + request.url.slice(1) + '/health', { timeout: 3000 }, () => response.end('reached'));
  other.on('timeout', () => other.destroy(new Error('no answer')));
  other.on('error', (error) => response.end('not reached: ' + error.message));
}).listen(Number(process.env.PORT), process.env.MASTRA_HOST);
"#;

/// An engine that starts makes the chains of the machine's firewall anew, which no second engine of a machine would
/// do outside of tests: what relies on them waits.
static FIREWALL: Mutex<()> = Mutex::const_new(());

pub(super) async fn container_of(bench: &Bench, owner: &str) -> Value {
    let instance = std::fs::read_to_string(bench.dir.path().join("docker/instance")).unwrap();
    engine_api::get(&bench.host, &format!("/containers/mastra-admin-{instance}-{owner}/json")).await
}

#[tokio::test]
async fn a_container_may_nothing_that_it_does_not_need() {
    let bench = Bench::start(Kind::Docker).await;
    let plan = bench.plan(SERVER);
    let (id, team, environment, cause) = (plan.deployment_id, plan.team_id, plan.environment_id, plan.cause);
    bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let container = container_of(&bench, &format!("server-{id}")).await;
    let host = &container["HostConfig"];
    assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]));
    assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges"]));
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["Memory"], 256 << 20);
    assert_eq!(host["MemorySwap"], 256 << 20);
    assert_eq!(host["PidsLimit"], 256);
    assert_eq!(host["Init"], true);
    assert_eq!(host["LogConfig"]["Type"], "local");
    assert!(host["NetworkMode"].as_str().unwrap().ends_with(&format!("team-{team}")));
    assert!(host["PortBindings"].as_object().is_none_or(serde_json::Map::is_empty));
    assert_eq!(container["Config"]["User"], "1000:1000");
    let mounts = container["Mounts"].as_array().unwrap();
    assert!(!mounts.is_empty() && mounts.iter().all(|mount| mount["Type"] == "volume"), "{mounts:?}");
    let labels = &container["Config"]["Labels"];
    assert_eq!(labels["mastra-admin.team"], team.to_string());
    assert_eq!(labels["mastra-admin.deployment"], id.to_string());
    assert_eq!(labels["mastra-admin.environment"], environment.to_string());
    assert_eq!(labels["mastra-admin.event"], cause.event.to_string());
    assert_eq!(labels["mastra-admin.fence"], "7");
    bench.runner.stop(id, LONG).await.unwrap();
    assert!(bench.left().await.is_empty());
}

#[tokio::test]
async fn teams_do_not_reach_each_other() {
    let _nobody_flushes_it = FIREWALL.lock().await;
    let bench = Bench::start(Kind::Docker).await;
    let (one, mut two, other) = (bench.plan(SERVER), bench.plan(REACHER), bench.plan(REACHER));
    two.team_id = one.team_id;
    let target = bench.runner.start(one, bench.output.clone()).await.unwrap();
    let same = bench.runner.start(two, bench.output.clone()).await.unwrap();
    let foreign = bench.runner.start(other, bench.output.clone()).await.unwrap();
    let path = format!("/{}", target.address());
    assert_eq!(get(same.address(), &path).await.unwrap(), "reached", "else the next line proves nothing");
    let answer = get(foreign.address(), &path).await.unwrap();
    assert!(answer.starts_with("not reached"), "{answer}");
}

#[tokio::test]
async fn a_server_goes_on_without_the_platform_and_is_taken_up_again() {
    let bench = Bench::start(Kind::Docker).await;
    // Found again by what its labels say: a port of its own, and a gate that its platform knew.
    let own = SERVER.replace("/health", "/ready").replace("Number(process.env.PORT)", "3000");
    let (mut plan, stray) = (bench.plan(&own), bench.plan(SERVER));
    plan.port = Some(3000);
    plan.health = HealthGate { path: Some("/ready".to_owned()), ..HealthGate::default() };
    let (id, stray_id) = (plan.deployment_id, stray.deployment_id);
    // What the project says by then does not matter.
    let again = StartPlan { port: None, health: HealthGate::default(), ..plan.clone() };
    let stray_again = stray.clone();
    let first = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    bench.runner.start(stray, bench.output.clone()).await.unwrap();
    let noted = bench.dir.path().join("docker/cursors").join(id.to_string());
    eventually("it is noted how far the log was read", async || noted.exists()).await;

    let (next, output) = (bench.next_life().await, Arc::new(Recorder::default()));
    next.sweep(&[id]).await.unwrap();
    assert!(!bench.left().await.join(" ").contains(&stray_id.to_string()), "a stray is ended");
    assert!(next.resume(stray_again, output.clone()).await.is_none());
    assert_eq!(next.health(id).await, Health::Absent, "nobody has taken it up yet");
    let resumed = next.resume(again, output.clone()).await.unwrap();
    assert_eq!(resumed.address(), first.address());
    assert_eq!(next.health(id).await, Health::Healthy);
    next.stop(id, LONG).await.unwrap();
    assert_eq!(output.text(), "goodbye\n", "what was read before is not read again");
    assert!(bench.left().await.is_empty());
}

#[tokio::test]
async fn a_sweep_leaves_other_platforms_alone() {
    let (bench, other) = (Bench::start(Kind::Docker).await, Bench::start(Kind::Docker).await);
    let plan = bench.plan(SERVER);
    let id = plan.deployment_id;
    bench.runner.start(plan, bench.output.clone()).await.unwrap();
    other.runner.sweep(&[]).await.unwrap();
    bench.runner.sweep(&[]).await.unwrap();
    assert_eq!(bench.runner.health(id).await, Health::Healthy, "who lives has claimed it");
    bench.runner.stop(id, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_fails_one_step_and_comes_back() {
    let _flushed = FIREWALL.lock().await;
    let engine = tokio::task::spawn_blocking(Engine::start).await.unwrap();
    let files = app("console.log('up'); setInterval(() => {}, 1000)");
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let bench = Bench::at(Kind::Docker, engine.host.clone(), &files).await;
    let Watched { plan, watch, cancel: _owner, .. } = bench.watched();
    let id = plan.build_id;
    let dies = async {
        eventually("it builds", async || bench.output.text().contains("up")).await;
        tokio::task::block_in_place(|| engine.tell("kill"));
        Instant::now()
    };
    let (failure, since) = tokio::join!(bench.runner.build(plan, watch), dies);
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, FailureCode::PlatformError, "{failure}");
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    let failure = bench.runner.start(bench.plan(SERVER), bench.output.clone()).await.unwrap_err();
    assert!(failure.retry && failure.message.contains("cannot be reached"), "{failure}");

    tokio::task::block_in_place(|| engine.tell("start"));
    eventually("what could not be removed is removed", async || bench.left().await.is_empty()).await;
    let again = bench.watched();
    let mut plan = again.plan;
    plan.build_id = id;
    plan.build_command = Some("node --version".parse().unwrap());
    let failure = bench.runner.build(plan, again.watch).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::OutputMissing, "the engine is back: {failure}");

    // One that hangs is as bad as none, and takes no longer than its limit.
    tokio::task::block_in_place(|| engine.tell("freeze"));
    let before = Instant::now();
    let failure = bench.runner.start(bench.plan(SERVER), bench.output.clone()).await.unwrap_err();
    assert!(failure.retry && failure.message.contains("did not answer"), "{failure}");
    assert!(before.elapsed() < Duration::from_secs(60), "{:?}", before.elapsed());
    tokio::task::block_in_place(|| engine.tell("thaw"));
    let started = bench.runner.start(bench.plan(SERVER), bench.output.clone()).await.unwrap();
    assert!(get(started.address(), "/health").await.is_ok());
}

#[tokio::test]
async fn a_build_under_way_is_killed_with_its_children_within_two_seconds() {
    let daemon = "const { spawn } = require('child_process');
        spawn('node', ['-e', \"process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)\"],
            { detached: true, stdio: 'ignore' }).unref();
        process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)";
    let bench = Bench::building(Kind::Docker, daemon).await;
    let Watched { plan, watch, cancel, .. } = bench.watched();
    let cancelled = async {
        eventually("it builds", async || bench.output.text().contains("up")).await;
        cancel.send(true).unwrap();
        Instant::now()
    };
    let (failure, since) = tokio::join!(bench.runner.build(plan, watch), cancelled);
    let took = since.elapsed();
    assert_eq!(failure.unwrap_err().message, "cancelled");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(bench.is_clean().await);
}

/// The engine, but it makes no container before it is told to: `created` tells that one was asked for, and the answer
/// of `given_up` is whether nobody waits for it any more.
struct Hesitant {
    host: String,
    created: Notify,
    go_on: Notify,
    given_up: Notify,
}

impl Hesitant {
    async fn start(engine: &str) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let socket = engine.strip_prefix("unix://").unwrap().to_owned();
        let this =
            Arc::new(Self { host, created: Notify::new(), go_on: Notify::new(), given_up: Notify::new() });
        let hesitant = this.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let engine = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(hesitant.clone().pass_on(client, engine));
            }
        });
        this
    }

    async fn pass_on(self: Arc<Self>, client: TcpStream, engine: UnixStream) {
        let ((mut from_client, mut to_client), (mut from_engine, mut to_engine)) =
            (client.into_split(), engine.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut from_engine, &mut to_client).await });
        let mut bytes = vec![0; 64 << 10];
        loop {
            let Ok(length @ 1..) = from_client.read(&mut bytes).await else { return };
            let request = String::from_utf8_lossy(&bytes[..length]);
            if request.starts_with("POST ") && request.contains("-install") {
                self.created.notify_one();
                let mut more = [0];
                tokio::select! {
                    () = self.go_on.notified() => {}
                    Ok(0) | Err(_) = from_client.peek(&mut more) => self.given_up.notify_one(),
                }
            }
            if to_engine.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_container_that_is_made_while_the_build_is_cancelled_is_removed() {
    let hesitant = Hesitant::start(&docker::engine().await.host).await;
    let files = app("");
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let mut bench = Bench::at(Kind::Docker, hesitant.host.clone(), &files).await;
    let Watched { plan, watch, cancel, .. } = bench.watched();
    let cancelled = async {
        hesitant.created.notified().await;
        cancel.send(true).unwrap();
        // Whoever does not wait hangs up at once.
        let _waits = tokio::time::timeout(Duration::from_millis(500), hesitant.given_up.notified()).await;
        hesitant.go_on.notify_one();
    };
    let (failure, ()) = tokio::join!(bench.runner.build(plan, watch), cancelled);
    assert_eq!(failure.unwrap_err().message, "cancelled");
    bench.host = docker::engine().await.host.clone();
    assert!(bench.is_clean().await, "{:?}", bench.left().await);
}
