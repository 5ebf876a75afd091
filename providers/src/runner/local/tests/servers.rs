//! Servers: ready or not, crashed, stopped.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use domain::build::FailureCode;
use domain::ports::runner::{ExitReport, Health, Runner};
use domain::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::kit::{Bench, DEADLINE, SERVER, eventually, get};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_server_becomes_ready_and_stops_when_asked() {
    let bench = Bench::start().await;
    let mut plan = bench.plan(SERVER);
    let set = |key: &str, value: &str| (key.parse().unwrap(), Secret::new(value));
    plan.env.extend([set("PORT", "1"), set("MASTRA_HOST", "0.0.0.0"), set("NODE_ENV", "test")]);
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    assert_eq!(bench.runner.health(id).await, Health::Healthy);

    let env: serde_json::Value = serde_json::from_str(&get(started.address, "/env").await.unwrap()).unwrap();
    assert_eq!(env["GREETING"], "hello");
    assert_eq!(env["PORT"], started.address.port().to_string());
    assert_eq!(env["MASTRA_HOST"], "127.0.0.1");
    assert_eq!(env["NODE_ENV"], "test");
    assert_eq!(env["MASTRA_TELEMETRY_DISABLED"], "1");

    bench.runner.stop(id, LONG).await.unwrap();
    assert_eq!(bench.runner.health(id).await, Health::Absent);
    assert!(get(started.address, "/health").await.is_err());
    assert!(started.exited.await.is_err(), "a stop is no news");
    assert_eq!(bench.output.text(), "listening\ngoodbye\n");
    assert!(bench.is_clean());
    bench.runner.stop(id, LONG).await.unwrap();
}

#[tokio::test]
async fn started_twice_it_runs_once() {
    let bench = Bench::start().await;
    let plan = bench.plan(SERVER);
    let first = bench.runner.start(plan.clone(), bench.output.clone()).await.unwrap();
    let second = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    assert_eq!(first.address, second.address);
    assert_eq!(bench.output.text(), "listening\n");
    let _cut_off = get(first.address, "/crash").await;
    let report = ExitReport { exit_code: Some(3), signal: None, out_of_memory: false };
    assert_eq!((first.exited.await.unwrap(), second.exited.await.unwrap()), (report.clone(), report));
}

#[tokio::test]
async fn a_server_that_never_listens_is_ended() {
    let bench = Bench::start().await;
    let mut plan = bench.plan("setInterval(() => {}, 1000)");
    plan.start_deadline = Duration::from_millis(300);
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::NeverReady, "{failure}");
    assert!(bench.is_clean());
}

#[tokio::test]
async fn a_page_for_every_path_is_not_health() {
    let bench = Bench::start().await;
    let mut plan = bench.plan(&SERVER.replace("{\"success\":true}", "<html>"));
    plan.start_deadline = Duration::from_secs(3);
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::NeverReady);
    assert!(failure.message.contains("/health answered 200, but not"), "{failure}");
}

#[tokio::test]
async fn a_server_that_throws_says_what_it_threw() {
    let bench = Bench::start().await;
    let plan = bench.plan("throw new Error('OPENAI_API_KEY is not set')");
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!((failure.code, failure.exit_code), (FailureCode::ExitedBeforeReady, Some(1)));
    assert!(failure.message.contains("OPENAI_API_KEY is not set"), "{failure}");
    assert!(!failure.retry && bench.is_clean());
}

#[tokio::test]
async fn a_port_set_in_code_is_told_by_message() {
    let bench = Bench::start().await;
    let told = "() => process.send({ type: 'server-ready', port: server.address().port, host: 'localhost' })";
    let index =
        SERVER.replace("Number(process.env.PORT)", "0").replace("() => console.log('listening')", told);
    let plan = bench.plan(&index);
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let env: serde_json::Value = serde_json::from_str(&get(started.address, "/env").await.unwrap()).unwrap();
    assert_ne!(env["PORT"], started.address.port().to_string());
}

#[tokio::test]
async fn the_port_of_somebody_else_is_not_believed() {
    let bench = Bench::start().await;
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
    let bench = Bench::start().await;
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
async fn a_crash_is_told_with_its_cause() {
    let bench = Bench::start().await;
    let plan = bench.plan(SERVER);
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let _cut_off = get(started.address, "/grow").await;
    assert!(tokio::time::timeout(DEADLINE, started.exited).await.unwrap().unwrap().out_of_memory);
    assert_eq!(bench.runner.health(id).await, Health::Absent);
}

#[tokio::test]
async fn one_that_ignores_the_signal_is_killed() {
    let bench = Bench::start().await;
    let plan = bench.plan(&SERVER.replace("process.exit(0)", "''"));
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let before = Instant::now();
    bench.runner.stop(id, Duration::from_millis(500)).await.unwrap();
    assert!((Duration::from_millis(500)..Duration::from_millis(2500)).contains(&before.elapsed()));
    assert!(get(started.address, "/health").await.is_err());
    assert_eq!(bench.output.text(), "listening\ngoodbye\n", "the signal came once");
    assert!(bench.is_clean());
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let bench = Bench::start().await;
    let plan = bench.plan("console.log('up'); setInterval(() => {}, 1000)");
    let output = bench.output.clone();
    tokio::select! {
        _ = bench.runner.start(plan, output.clone()) => panic!("it is never ready"),
        () = eventually("it starts", || output.text().contains("up")) => {}
    }
    eventually("all is gone", || bench.is_clean()).await;
}

#[tokio::test]
async fn a_start_is_cut_short_by_a_stop() {
    let bench = Bench::start().await;
    let plan = bench.plan("console.log('up'); setInterval(() => {}, 1000)");
    let id = plan.deployment_id;
    let stop = async {
        eventually("it starts", || bench.output.text().contains("up")).await;
        bench.runner.stop(id, LONG).await.unwrap();
    };
    let (failure, ()) = tokio::join!(bench.runner.start(plan, bench.output.clone()), stop);
    assert!(failure.unwrap_err().message.contains("stopped"));
    assert!(bench.is_clean());
}

#[tokio::test]
async fn nobody_is_absent() {
    let bench = Bench::start().await;
    assert_eq!(bench.runner.health(bench.plan("").deployment_id).await, Health::Absent);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    assert!(get(nobody, "/").await.is_err());
}
