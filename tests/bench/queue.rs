//! Builds from being asked for to their start, and from being cancelled until nothing of them is left; what one look at a
//! long queue costs; a real project built again, for which npm asks its registry; and what projects that sleep take up.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::ids::WorkId;
use projections::queue::{self, Limits, PROCESS};
use projections::work::{self, Due, NewWork};
use serde_json::json;
use tests::app::TestApp;
use tests::bus::Bus;
use tests::repository;
use tests::world::team_and_project;
use uuid::Uuid;

use crate::measure::{Figure, median, percentile};
use crate::{asleep, between};

/// Builds that wait while one is taken.
const QUEUED: i64 = 1000;
const TEAMS: i64 = 20;
const CLAIMS: usize = 100;
/// How often the same project is built again.
const WARM: usize = 3;

/// A build that begins what no polite signal ends.
const DAEMON: &str = r#"
import { spawn } from 'node:child_process';
const daemon = "trap '' TERM HUP; while :; do echo beat >> beats; sleep 0.05; done; : bench-daemon";
spawn('setsid', ['sh', '-c', daemon], { detached: true, stdio: 'ignore' }).unref();
setInterval(() => {}, 1000);
"#;

pub(crate) async fn figures() -> Vec<Figure> {
    let rounds = std::env::var("BENCH_BUILDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let mut figures = start_and_cancel(rounds).await;
    figures.push(look().await);
    figures.push(warm_rebuild().await);
    figures.push(asleep::figure().await);
    figures
}

/// A real Mastra project, built by a team that never built anything, and then again: its lockfile is as it was.
async fn warm_rebuild() -> Figure {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "single").await;
    let mut times = Vec::new();
    for n in 0..1 + WARM {
        repository::change(&app.repositories().join("single"), &[("NOTES.md", &format!("change {n}\n"))]);
        let build = it.built(&app, &owner).await;
        assert_eq!(build["status"], "ready", "{build}");
        let at = |field: &str| -> DateTime<Utc> {
            build[field]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("no {field} in {build}"))
        };
        times.push((at("finishedAt") - at("startedAt")).as_seconds_f64());
        app.settle().await;
    }
    let (cold, warm) = (times.remove(0), median(times));
    let name = "a build again with the lockfile as it was, with npm and mastra build".to_owned();
    Figure::at_most(name, warm, "s", format!("{cold:.1} s the first time"), warm / cold, 0.5)
}

async fn start_and_cancel(rounds: usize) -> Vec<Figure> {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    repository::change(&app.repositories().join("tiny"), &[("build.mjs", DAEMON)]);
    let mut gone = Vec::new();
    for _ in 0..rounds {
        let build = it.build(&owner).await;
        app.wait_until("its daemon runs", Duration::from_secs(60), async || daemons() == 1).await;
        let start = Instant::now();
        owner.post(&format!("/builds/{build}/cancel"), json!({})).await.expect(200);
        while daemons() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        app.until_status(&owner, &format!("/builds/{build}"), &["cancelled"]).await;
        gone.push(start.elapsed());
        app.settle().await;
    }
    let started = between(&app, "build.requested", "build.started").await;
    vec![
        Figure::limit("build asked for until a worker has it, p99", percentile(started, 99), "ms", 100.0),
        Figure::limit(
            "cancel until nothing is left and the status says so, p99",
            percentile(gone, 99),
            "ms",
            2000.0,
        ),
    ]
}

/// How many daemons of builds run on this machine.
fn daemons() -> usize {
    let processes = std::fs::read_dir("/proc").expect("Linux has it").filter_map(|entry| {
        let command = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).into_owned();
        (command.starts_with("sh\0") && command.contains("bench-daemon")).then_some(())
    });
    processes.count()
}

/// One build is taken out of many, and ends.
async fn look() -> Figure {
    let bus = Bus::start().await;
    let pool = projections::pool::connect(&bus.db.url(), 4).await.expect("it runs");
    let mut db = pool.acquire().await.expect("it answers");
    for n in 0..QUEUED {
        let row = NewWork {
            id: WorkId(Uuid::now_v7()),
            process: PROCESS.to_owned(),
            key: n.to_string(),
            lane: format!("build:{n}"),
            payload: json!({ "team_id": (n % TEAMS).to_string(), "project_id": n.to_string(), "rank": n % 3 }),
            due: Due::AtOnce,
            cause_event: Uuid::now_v7().into(),
            cause_position: n,
            correlation: "bench".to_owned(),
        };
        work::enqueue(&mut db, &row).await.expect("it is stored");
    }
    let limits = Limits { total: 4, team: 4, project: 4 };
    let mut times = Vec::new();
    for _ in 0..CLAIMS {
        let start = Instant::now();
        let claimed =
            queue::claim(&pool, limits, "bench", Duration::from_secs(15)).await.expect("it answers");
        times.push(start.elapsed());
        let claimed = claimed.expect("many wait");
        work::finish(&pool, claimed.id, claimed.fence).await.expect("it answers");
    }
    let name = format!("a build is taken while {QUEUED} wait, p99");
    Figure::limit(&name, percentile(times, 99), "ms", 50.0)
}
