//! Servers: ready or not, crashed, stopped.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use domain::build::FailureCode;
use domain::ports::runner::{ExitReport, Health};
use domain::secret::Secret;
use domain::values::HealthGate;

use super::kit::{Bench, DEADLINE, Kind, ODD, SERVER, eventually, get};

const LONG: Duration = Duration::from_secs(30);

pub(super) async fn a_server_becomes_ready_and_stops_when_asked(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut plan = bench.plan(SERVER);
    let set = |key: &str, value: &str| (key.parse().unwrap(), Secret::new(value));
    plan.env.extend([set("PORT", "1"), set("MASTRA_HOST", "::1"), set("NODE_ENV", "test")]);
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    assert_eq!(bench.runner.health(id).await, Health::Healthy);

    let env: serde_json::Value =
        serde_json::from_str(&get(started.address(), "/env").await.unwrap()).unwrap();
    assert_eq!(env["GREETING"], "hello");
    assert_eq!(env["PORT"], "4111", "each has a network of its own");
    assert!(["127.0.0.1", "0.0.0.0"].contains(&env["MASTRA_HOST"].as_str().unwrap()));
    assert_eq!(env["NODE_ENV"], "test");
    assert_eq!(env["MASTRA_TELEMETRY_DISABLED"], "1");

    bench.runner.stop(id, LONG).await.unwrap();
    assert_eq!(bench.runner.health(id).await, Health::Absent);
    assert!(get(started.address(), "/health").await.is_err());
    assert!(started.exited.await.is_err(), "a stop is no news");
    assert_eq!(bench.output.text(), "listening\ngoodbye\n");
    assert!(bench.is_clean().await);
    bench.runner.stop(id, LONG).await.unwrap();
}

pub(super) async fn started_twice_it_runs_once(kind: Kind) {
    let bench = Bench::start(kind).await;
    let plan = bench.plan(SERVER);
    let first = bench.runner.start(plan.clone(), bench.output.clone()).await.unwrap();
    let second = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    assert_eq!(first.address(), second.address());
    assert_eq!(bench.output.text(), "listening\n");
    let _cut_off = get(first.address(), "/crash").await;
    let report = ExitReport { exit_code: Some(3), signal: None, out_of_memory: false };
    assert_eq!((first.exited.await.unwrap(), second.exited.await.unwrap()), (report.clone(), report));
}

pub(super) async fn a_server_that_never_listens_is_ended(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut plan = bench.plan("setInterval(() => {}, 1000)");
    plan.start_deadline = Duration::from_millis(300);
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::NeverReady, "{failure}");
    assert!(bench.is_clean().await);
}

pub(super) async fn a_page_for_every_path_is_not_health(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut plan = bench.plan(&SERVER.replace("{\"success\":true}", "<html>"));
    plan.start_deadline = Duration::from_secs(3);
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::NeverReady);
    assert!(failure.message.contains("/health answered 200, but not"), "{failure}");
}

pub(super) async fn a_server_is_ready_when_its_own_gate_says_so(kind: Kind) {
    let bench = Bench::start(kind).await;
    let own = "if (request.url === '/ready?deep=1') return response.writeHead(204).end();
        if (request.url === '/moved') return response.writeHead(302, { location: '/ready?deep=1' }).end();";
    let server =
        SERVER.replace("if (request.url === '/health') return response.end('{\"success\":true}');", own);
    let gate =
        |path: &str| HealthGate { path: Some(path.to_owned()), retries: Some(2), ..HealthGate::default() };
    let mut plan = bench.plan(&server);
    plan.health = gate("/ready?deep=1");
    let id = plan.deployment_id;
    bench.runner.start(plan, bench.output.clone()).await.unwrap();
    assert_eq!(bench.runner.health(id).await, Health::Healthy);
    bench.runner.stop(id, LONG).await.unwrap();

    // A redirect is no good answer, whatever stands behind it; and it is asked for no more often than was said.
    let mut plan = bench.plan(&server);
    plan.health = gate("/moved");
    let asked = Instant::now();
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::NeverReady, "{failure}");
    assert!(failure.message.contains("/moved answered 302"), "{failure}");
    assert!(asked.elapsed() < DEADLINE / 2 && bench.is_clean().await);
}

pub(super) async fn a_server_that_throws_says_what_it_threw(kind: Kind) {
    let bench = Bench::start(kind).await;
    let plan = bench.plan("throw new Error('OPENAI_API_KEY is not set')");
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!((failure.code, failure.exit_code), (FailureCode::ExitedBeforeReady, Some(1)));
    assert!(failure.message.contains("OPENAI_API_KEY is not set"), "{failure}");
    assert!(!failure.retry && bench.is_clean().await);
}

pub(super) async fn a_crash_is_told_with_its_cause(kind: Kind) {
    let bench = Bench::start(kind).await;
    let plan = bench.plan(SERVER);
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let _cut_off = get(started.address(), "/grow").await;
    assert!(tokio::time::timeout(DEADLINE, started.exited).await.unwrap().unwrap().out_of_memory);
    assert_eq!(bench.runner.health(id).await, Health::Absent);
}

pub(super) async fn one_that_ignores_the_signal_is_killed(kind: Kind) {
    let bench = Bench::start(kind).await;
    let plan = bench.plan(&SERVER.replace("process.exit(0)", "''"));
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let before = Instant::now();
    bench.runner.stop(id, Duration::from_millis(500)).await.unwrap();
    assert!((Duration::from_millis(500)..Duration::from_millis(2500)).contains(&before.elapsed()));
    assert!(get(started.address(), "/health").await.is_err());
    assert_eq!(bench.output.text(), "listening\ngoodbye\n", "the signal came once");
    assert!(bench.is_clean().await);
}

pub(super) async fn a_start_that_nobody_waits_for_leaves_nothing(kind: Kind) {
    let bench = Bench::start(kind).await;
    let plan = bench.plan("console.log('up'); setInterval(() => {}, 1000)");
    let output = bench.output.clone();
    tokio::select! {
        _ = bench.runner.start(plan, output.clone()) => panic!("it is never ready"),
        () = eventually("it starts", async || output.text().contains("up")) => {}
    }
    eventually("all is gone", async || bench.is_clean().await).await;
}

pub(super) async fn a_start_is_cut_short_by_a_stop(kind: Kind) {
    let bench = Bench::start(kind).await;
    let plan = bench.plan("console.log('up'); setInterval(() => {}, 1000)");
    let id = plan.deployment_id;
    let stop = async {
        eventually("it starts", async || bench.output.text().contains("up")).await;
        bench.runner.stop(id, LONG).await.unwrap();
    };
    let (failure, ()) = tokio::join!(bench.runner.start(plan, bench.output.clone()), stop);
    assert!(failure.unwrap_err().message.contains("stopped"));
    assert!(bench.is_clean().await);
}

pub(super) async fn nobody_is_absent(kind: Kind) {
    let bench = Bench::start(kind).await;
    assert_eq!(bench.runner.health(bench.plan("").deployment_id).await, Health::Absent);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    assert!(get(nobody, "/").await.is_err());
}

pub(super) async fn values_of_a_server_arrive_byte_for_byte(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut plan = bench.plan(SERVER);
    plan.env.push(("ODD".parse().unwrap(), Secret::new(ODD)));
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let env: serde_json::Value =
        serde_json::from_str(&get(started.address(), "/env").await.unwrap()).unwrap();
    assert_eq!(env["ODD"], ODD);
    assert!(env["BUILD_FLAG"].is_null() && env["DATABASE_URL"].is_null() && env["NODE_ENV"] == "production");
    bench.runner.stop(id, LONG).await.unwrap();
}

pub(super) async fn output_comes_whole_and_in_order(kind: Kind) {
    let bench = Bench::start(kind).await;
    let lines = "for (let i = 0; i < 5000; i++) console.log('line ' + i + ' ' + 'x'.repeat(i % 100)); process.exitCode = 7";
    let failure = bench.runner.start(bench.plan(lines), bench.output.clone()).await.unwrap_err();
    assert_eq!(failure.exit_code, Some(7), "{failure}");
    let text = bench.output.text();
    let said: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("line ")?.split(' ').next()).collect();
    let wanted: Vec<_> = (0..5000).map(|i| i.to_string()).collect();
    assert_eq!(said, wanted);
    assert!(bench.is_clean().await);
}

pub(super) async fn a_server_may_write_beside_itself(kind: Kind) {
    let bench = Bench::start(kind).await;
    let writes = "
        for (const dir of ['.', process.env.HOME, '/tmp']) fs.writeFileSync(dir + '/state.db', 'x');";
    let plan = bench.plan(&format!("{SERVER}{writes}"));
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    assert_eq!(get(started.address(), "/files").await.unwrap(), r#"["index.mjs","state.db"]"#);
    bench.runner.stop(id, LONG).await.unwrap();
}

pub(super) async fn a_server_that_fills_the_disk_is_ended(kind: Kind) {
    let bench = Bench::start(kind).await;
    let fills = "
        setInterval(() => fs.appendFileSync(process.env.HOME + '/' + Date.now(), Buffer.alloc(4 << 20, 1)), 5);";
    let mut plan = bench.plan(&format!("{SERVER}{fills}"));
    plan.limits.disk_mib = Some(128);
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let report = tokio::time::timeout(DEADLINE, started.exited).await.unwrap().unwrap();
    assert_eq!((report.exit_code, report.signal), (None, Some(9)), "{report:?}");
    assert!(!report.out_of_memory);
    bench.runner.stop(id, LONG).await.unwrap();
    assert!(bench.is_clean().await);
}

/// A runner that runs one alone says so.
pub(super) async fn several_are_ready_together_and_stop_together(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut plan = bench.plan(SERVER);
    plan.replicas = 3;
    let id = plan.deployment_id;
    let started = bench.runner.start(plan, bench.output.clone()).await.unwrap();
    let addresses = started.serving.borrow().addresses.clone();
    assert_eq!(bench.runner.health(id).await, Health::Healthy);
    for address in &addresses {
        assert!(get(*address, "/health").await.is_ok());
    }
    let said = "The local runner runs one server of a deployment, not 3\n";
    let (count, said) = if kind == Kind::Local { (1, said) } else { (3, "") };
    assert_eq!(addresses.iter().collect::<std::collections::BTreeSet<_>>().len(), count);
    bench.runner.stop(id, LONG).await.unwrap();
    assert!(started.exited.await.is_err(), "a stop is no news");
    let text = bench.output.text();
    assert!(text.starts_with(said), "{text}");
    assert_eq!(
        (text.matches("listening").count(), text.matches("goodbye").count()),
        (count, count),
        "{text}"
    );
    for address in addresses {
        assert!(get(address, "/health").await.is_err());
    }
    assert!(bench.is_clean().await);
}

/// Each of several that could start alone waits for the others in vain.
pub(super) async fn of_several_that_are_not_all_ready_none_is_left(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut plan = bench.plan("throw new Error('not today')");
    plan.replicas = 3;
    let id = plan.deployment_id;
    let failure = bench.runner.start(plan, bench.output.clone()).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::ExitedBeforeReady, "{failure}");
    assert_eq!(bench.runner.health(id).await, Health::Absent);
    assert!(bench.is_clean().await);
}
