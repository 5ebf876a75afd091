//! The life of a build on the real platform: waits, cancels, tries, and servers that are lost.

use std::fs;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use commands::Context;
use domain::build::{BuildCommand, Source};
use domain::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use domain::project::EnvironmentType;
use projections::feed::Feed;
use projections::{builds, pool};
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::bus::{Bus, context};
use tests::client::Client;
use tests::repository;
use tests::world::{Project, project, team_and_project};
use uuid::{NoContext, Timestamp, Uuid};

const SLEEP: &str = r#"{ "version": "1", "sleep": 600000 }"#;

/// A build that begins a daemon in a session of its own, which no polite signal ends, and goes on writing.
const DAEMON: &str = r#"
import { spawn } from 'node:child_process';
const daemon = "trap '' TERM HUP INT QUIT; while :; do echo beat >> beats; sleep 0.05; done; : stubborn-daemon";
spawn('setsid', ['sh', '-c', daemon], { detached: true, stdio: 'ignore' }).unref();
process.on('SIGTERM', () => {});
console.log('the daemon was begun');
setInterval(() => {}, 1000);
"#;

/// A project of `tiny` whose builds do not end by themselves.
async fn endless(app: &TestApp, client: &Client) -> Project {
    let it = team_and_project(app, client, "tiny").await;
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", SLEEP)]);
    it
}

/// Processes of a build: in its control group, below its directory, or its daemon.
fn processes_of(build: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let dir = entry.ok()?.path();
        let read = |name: &str| {
            fs::read(dir.join(name)).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        let (command, groups) = (read("cmdline")?, read("cgroup")?);
        // A zombie runs no more.
        let is_there = !command.is_empty() && (groups.contains(build) || command.contains("stubborn-daemon"));
        is_there.then(|| command.replace('\0', " "))
    });
    processes.collect()
}

async fn count(app: &TestApp, build: &str, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE aggregate_id = $1 AND event_type = $2")
        .bind(build)
        .bind(event_type)
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

/// Cancels a build that has begun its daemon; how long it takes until nothing of it is left and its status says so.
async fn cancelled(app: &TestApp, client: &Client, build: &str) -> Duration {
    app.wait_until("the daemon runs", Duration::from_secs(60), async || {
        processes_of(build).iter().any(|command| command.contains("stubborn-daemon"))
    })
    .await;
    let start = Instant::now();
    client.post(&format!("/builds/{build}/cancel"), json!({})).await.expect(200);
    app.wait_until("nothing of it is left", Duration::from_secs(20), async || processes_of(build).is_empty())
        .await;
    let gone = start.elapsed();
    app.until_status(client, &format!("/builds/{build}"), &["cancelled"]).await;
    assert!(gone < Duration::from_secs(2), "its processes were there for {gone:?}");
    start.elapsed()
}

#[tokio::test]
async fn a_cancelled_build_leaves_no_daemon_for_two_seconds_whichever_server_is_asked() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    repository::change(&app.repositories().join("tiny"), &[("build.mjs", DAEMON)]);
    let build = it.build(&owner).await;
    let took = cancelled(&app, &owner, &build).await;
    assert!(took < Duration::from_secs(2), "its status came after {took:?}");

    let build = it.build(&owner).await;
    app.until_status(&owner, &format!("/builds/{build}"), &["building"]).await;
    let other = app.another().await;
    let took = cancelled(&app, &owner.at(&other.url), &build).await;
    assert!(took < Duration::from_secs(2), "its status came after {took:?}");
    assert_eq!(count(&app, &build, "build.started").await, 1);
}

#[tokio::test]
async fn a_build_of_a_server_that_was_stopped_past_its_lease_is_another_servers() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let sleep = r#"{ "version": "1", "sleep": 30000 }"#;
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", sleep)]);
    let build = it.build(&owner).await;
    let path = format!("/builds/{build}");
    app.wait_until("the build command runs", Duration::from_secs(60), async || {
        owner.get(&path).await.body["phase"] == "building"
    })
    .await;
    let other = app.another().await;
    app.signal("STOP").await;
    let there = owner.at(&other.url);
    app.wait_until("the other server has taken it over", Duration::from_secs(90), async || {
        count(&app, &build, "build.started").await == 2
    })
    .await;
    app.signal("CONT").await;
    app.wait_until("what the first server ran is gone", Duration::from_secs(20), async || {
        sandboxes(app.pid()) == 0
    })
    .await;
    let ended = app.until_status(&there, &path, &["ready", "failed", "cancelled"]).await;
    assert_eq!((ended["status"].as_str(), ended["tries"].as_i64()), (Some("ready"), Some(2)), "{ended}");
    app.settle().await;
    assert_eq!(count(&app, &build, "build.succeeded").await, 1);
    assert_eq!(count(&app, &build, "build.failed").await, 0);
}

/// How many sandboxes a server runs.
fn sandboxes(server: u32) -> usize {
    let children = fs::read_dir(format!("/proc/{server}/task"))
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let pids: Vec<String> =
        children.flat_map(|all| all.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let is_sandbox = |pid: &&String| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "bwrap")
    };
    pids.iter().filter(is_sandbox).count()
}

/// Which of two builds is the newer one, the log says: the clock of a server, or of two, may go back between them.
#[tokio::test]
async fn the_newer_build_is_the_one_that_was_asked_for_later_whatever_the_clock_said() {
    let bus = Bus::start().await;
    let reads = pool::connect(&bus.db.url(), 20).await.unwrap();
    let feed = Feed::start(reads.clone(), projections::read_models()).await.unwrap();
    let environment = EnvironmentId(Uuid::now_v7());
    let ask = async |clock: TimeDelta| {
        let at = context().at + clock;
        let id = BuildId(Uuid::new_v7(Timestamp::from_unix(
            NoContext,
            u64::try_from(at.timestamp()).unwrap(),
            at.timestamp_subsec_nanos(),
        )));
        let command = BuildCommand::RequestBuild {
            team_id: TeamId(Uuid::from_u128(1)),
            project_id: ProjectId(Uuid::from_u128(2)),
            environment_id: environment,
            environment_type: EnvironmentType::Production,
            branch: "main".parse().unwrap(),
            commit: None,
            source: Source::Repository,
            deploy: true,
            trigger: None,
        };
        let asked = bus.commands.build(id, command, &Context { at, ..context() }).await.unwrap();
        (id, asked.position)
    };
    let (older, _) = ask(TimeDelta::minutes(30)).await;
    let (newer, position) = ask(TimeDelta::minutes(-30)).await;
    assert!(feed.wait_for(position, Duration::from_secs(30)).await);
    let needless = builds::superseded(&reads, environment).await.unwrap();
    assert_eq!(needless, [(older, TeamId(Uuid::from_u128(1)), newer)]);
    assert_eq!(builds::newest(&reads, environment).await.unwrap().unwrap().id, newer);
}

#[tokio::test]
async fn a_newer_build_ends_the_wait_of_an_older_one_of_its_environment() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_BUILDS", "1")]).await;
    let owner = app.owner().await;
    let it = endless(&app, &owner).await;
    let running = it.build(&owner).await;
    app.until_status(&owner, &format!("/builds/{running}"), &["building"]).await;
    let second = project(&owner, "acme", "other", &app.repository("tiny", "other"), json!({})).await;
    let elsewhere = second.build(&owner).await;
    let older = it.build(&owner).await;
    let newer = it.build(&owner).await;
    let ended = app.until_status(&owner, &format!("/builds/{older}"), &["cancelled"]).await;
    assert_eq!(ended["supersededBy"], json!(newer), "{ended}");
    assert_eq!((&ended["cancelRequested"], &ended["failure"]), (&json!(false), &Value::Null));

    for (build, what, before) in [(&newer, "environment_busy", 1), (&elsewhere, "global_limit", 0)] {
        app.wait_until("it says what it waits for", Duration::from_secs(20), async || {
            let shown = owner.get(&format!("/builds/{build}")).await.expect(200);
            shown["waitingFor"] == what && shown["queuedBefore"] == before
        })
        .await;
    }
    assert_eq!(owner.get(&format!("/builds/{running}")).await.body["waitingFor"], Value::Null);

    owner.post(&format!("/builds/{newer}/cancel"), json!({})).await.expect(200);
    owner.post(&format!("/builds/{running}/cancel"), json!({})).await.expect(200);
    app.until_status(&owner, &format!("/builds/{elsewhere}"), &["ready"]).await;
    app.settle().await;
    for never in [older, newer] {
        assert_eq!(count(&app, &never, "build.started").await, 0);
    }
}

#[tokio::test]
async fn a_build_that_waits_too_long_fails() {
    let app =
        TestApp::start_with(&[("MASTRA_ADMIN_BUILDS", "1"), ("MASTRA_ADMIN_BUILD_QUEUE_TIMEOUT", "1")]).await;
    let owner = app.owner().await;
    let it = endless(&app, &owner).await;
    let running = it.build(&owner).await;
    app.until_status(&owner, &format!("/builds/{running}"), &["building"]).await;
    let waiting = it.build(&owner).await;
    let ended = app.until_status(&owner, &format!("/builds/{waiting}"), &["failed"]).await;
    assert_eq!(ended["failure"]["code"], "queue_timeout", "{ended}");
    owner.post(&format!("/builds/{running}/cancel"), json!({})).await.expect(200);
    app.until_status(&owner, &format!("/builds/{running}"), &["cancelled"]).await;
    app.settle().await;
    assert_eq!(count(&app, &waiting, "build.started").await, 0);
}

#[tokio::test]
async fn a_build_whose_workers_are_all_lost_fails_and_says_so() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let it = endless(&app, &owner).await;
    let build = it.build(&owner).await;
    app.until_status(&owner, &format!("/builds/{build}"), &["building"]).await;
    let last = "UPDATE work SET attempts = 5 WHERE process = 'run_build' AND state = 'running'";
    sqlx::query(last).execute(app.db.pool()).await.unwrap();
    app.kill_and_restart().await;
    let owner = app.owner().await;
    let ended = app.until_status(&owner, &format!("/builds/{build}"), &["ready", "failed"]).await;
    assert_eq!(ended["failure"]["code"], "worker_lost", "{ended}");
}

#[tokio::test]
async fn the_end_of_a_build_that_cannot_be_said_is_said_as_soon_as_it_can() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let it = endless(&app, &owner).await;
    let build = it.build(&owner).await;
    app.until_status(&owner, &format!("/builds/{build}"), &["building"]).await;
    let refused = "UPDATE work SET attempts = 5 WHERE process = 'run_build' AND state = 'running';
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW
         WHEN (NEW.event_type = 'build.failed') EXECUTE FUNCTION refuse()";
    sqlx::raw_sql(refused).execute(app.db.pool()).await.unwrap();
    app.kill_and_restart().await;
    app.wait_until("it could not be said twice", Duration::from_secs(60), async || {
        let attempts = "SELECT attempts FROM work WHERE process = 'run_build'";
        sqlx::query_scalar::<_, i32>(attempts).fetch_one(app.db.pool()).await.unwrap() >= 8
    })
    .await;
    sqlx::raw_sql("DROP TRIGGER refuse ON events").execute(app.db.pool()).await.unwrap();
    let owner = app.owner().await;
    let ended = app.until_status(&owner, &format!("/builds/{build}"), &["ready", "failed"]).await;
    let message = ended["failure"]["message"].as_str().unwrap();
    assert!(message.contains("the worker was lost"), "{ended}");
}

#[tokio::test]
async fn a_cancelled_build_whose_worker_is_lost_is_ended_by_the_next() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let it = endless(&app, &owner).await;
    let build = it.build(&owner).await;
    let path = format!("/builds/{build}");
    app.until_status(&owner, &path, &["building"]).await;
    let other = app.another().await;
    app.kill().await;
    let there = owner.at(&other.url);
    there.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    app.until_status(&there, &path, &["cancelled"]).await;
    assert!(processes_of(&build).is_empty());
}

/// A lock file whose one package is at a registry that does not answer.
const LOCK: &str = r#"{ "name": "tiny", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
  "": { "name": "tiny", "version": "1.0.0", "dependencies": { "left-pad": "1.3.0" } },
  "node_modules/left-pad": { "version": "1.3.0", "resolved": "http://127.0.0.1:9/left-pad-1.3.0.tgz",
    "integrity": "sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==" } } }"#;

#[tokio::test]
async fn a_registry_that_cannot_be_reached_is_tried_again_and_a_failing_build_is_not() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_NPM_REGISTRY", "http://127.0.0.1:9/")]).await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let path = app.repositories().join("tiny");
    let package = fs::read_to_string(path.join("package.json")).unwrap();
    let package =
        package.replace("\"private\"", "\"dependencies\": { \"left-pad\": \"1.3.0\" },\n  \"private\"");
    let files = [("package.json", &*package), ("package-lock.json", LOCK), (".npmrc", "fetch-retries=0\n")];
    let commit = repository::change(&path, &files);
    let build = it.build(&owner).await;
    let at = format!("/builds/{build}");
    app.wait_until("it is tried twice", Duration::from_secs(120), async || {
        let shown = owner.get(&at).await.expect(200);
        assert!(["queued", "building"].contains(&shown["status"].as_str().unwrap()), "{shown}");
        shown["tries"].as_i64() >= Some(2)
    })
    .await;
    app.wait_until("it waits for its next try", Duration::from_secs(60), async || {
        owner.get(&at).await.expect(200)["waitingFor"] == "retry"
    })
    .await;
    let shown = owner.get(&at).await.expect(200);
    assert_eq!(
        (&shown["lastTry"]["code"], &shown["commitSha"]),
        (&json!("registry_unreachable"), &json!(commit))
    );
    owner.post(&format!("{at}/cancel"), json!({})).await.expect(200);
    app.until_status(&owner, &at, &["cancelled"]).await;

    repository::restore(&path, "tiny");
    fs::remove_file(path.join("package-lock.json")).unwrap();
    repository::change(&path, &[("behaviour.json", r#"{ "fail": "no" }"#)]);
    let build = it.built(&app, &owner).await;
    assert_eq!((&build["status"], &build["tries"]), (&json!("failed"), &json!(1)), "{build}");
    assert_eq!(build["failure"]["code"], "build_failed");
    let peak = &build["peak"];
    assert!(peak["wallSeconds"].as_u64() >= Some(1) && peak["diskMib"].as_u64() >= Some(1), "{build}");
}
