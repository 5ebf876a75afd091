//! What has to be true when it is over.

use std::collections::HashMap;
use std::process::Command;

use reqwest::Method;
use serde_json::Value;
use tests::app::program;
use tests::tape::assert_log_is_whole;
use tests::world::Project;

use super::besieged::Besieged;

/// Every command that was answered is in the log once, where its answer says, and nobody else's is.
pub(crate) async fn each_command_once(platform: &Besieged, told: &[(String, i64)]) {
    let renamed: Vec<(String, i64)> = sqlx::query_as(
        "SELECT payload ->> 'name', position FROM events WHERE event_type = 'team.renamed' ORDER BY position",
    )
    .fetch_all(&platform.database.pool)
    .await
    .unwrap();
    assert_eq!(renamed.len(), told.len(), "one event a command");
    let at: HashMap<_, _> = renamed.into_iter().collect();
    for (name, position) in told {
        assert_eq!(at.get(name), Some(position), "{name}");
    }
}

/// Every build was asked for once, ended once, and was deployed once if it was good.
pub(crate) async fn each_build_once(platform: &Besieged, builds: &[String]) {
    let of = |types: &'static str| {
        sqlx::query_as::<_, (String, i64)>(types).bind(builds).fetch_all(&platform.database.pool)
    };
    let asked = of("SELECT aggregate_id, count(*) FROM events
                     WHERE event_type = 'build.requested' AND aggregate_id = ANY ($1) GROUP BY 1");
    let ended = of("SELECT aggregate_id, count(*) FROM events
                     WHERE event_type IN ('build.succeeded', 'build.failed', 'build.cancelled', 'build.superseded')
                       AND aggregate_id = ANY ($1) GROUP BY 1");
    for (what, counts) in [("asked for", asked.await.unwrap()), ("ended", ended.await.unwrap())] {
        assert_eq!(counts.len(), builds.len(), "{what}");
        assert!(counts.iter().all(|(_, times)| *times == 1), "{what} more than once: {counts:?}");
    }
    let good = of("SELECT aggregate_id, 1::bigint FROM events
                    WHERE event_type = 'build.succeeded' AND aggregate_id = ANY ($1)")
    .await
    .unwrap();
    let deployed = of("SELECT payload ->> 'build_id', count(*) FROM events
                        WHERE event_type = 'deployment.requested' AND payload ->> 'build_id' = ANY ($1) GROUP BY 1");
    let (good, deployed): (HashMap<_, _>, HashMap<_, _>) =
        (good.into_iter().collect(), deployed.await.unwrap().into_iter().collect());
    assert_eq!(deployed, good, "each good build is deployed once, no other is");
    let bad = of("SELECT event_type || ': ' || coalesce(payload #>> '{failure,message}', ''), count(*) FROM events
                   WHERE event_type IN ('build.failed', 'build.cancelled', 'build.superseded', 'build.requeued')
                     AND aggregate_id = ANY ($1) GROUP BY 1")
    .await
    .unwrap();
    assert!(
        good.len() * 2 > builds.len(),
        "{} of {} builds were good, else {bad:?}",
        good.len(),
        builds.len()
    );
}

/// The blows were felt: builds were begun more than once, and the clock went forward and back.
pub(crate) async fn it_was_a_siege(platform: &Besieged) {
    let (begun_again, steps_back): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) - count(DISTINCT aggregate_id) FROM events WHERE event_type = 'build.started'),
                (SELECT count(*) FROM (SELECT recorded_at - lag(recorded_at) OVER (ORDER BY position) AS step
                                         FROM events) steps WHERE step < '-1 minute')",
    )
    .fetch_one(&platform.database.pool)
    .await
    .unwrap();
    assert!(begun_again > 0 && steps_back > 0, "{begun_again} builds begun again, {steps_back} steps back");
}

/// Each environment serves, and by one deployment.
pub(crate) async fn everything_serves(platform: &Besieged, projects: &[Project]) {
    let door = platform.door();
    for it in projects {
        platform
            .wait_until("it serves", async || {
                let path = format!("/environments/{}/deployments", it.production);
                let list = door.insist(Method::GET, &path, &Value::Null, "", 200).await.body;
                list["items"].as_array().unwrap().iter().filter(|one| one["status"] == "running").count() == 1
            })
            .await;
        let answer = door.insist(Method::GET, &it.url("/api/version"), &Value::Null, "", 200).await.body;
        assert_eq!(answer["version"], "1");
    }
}

/// Positions from 1 without a hole; every stream's numbers in their order; nothing is parked.
pub(crate) async fn the_log_is_whole(platform: &Besieged) {
    assert_log_is_whole(&platform.database.pool).await;
    let stuck: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM parked) + (SELECT count(*) FROM work WHERE state = 'dead')",
    )
    .fetch_one(&platform.database.pool)
    .await
    .unwrap();
    assert_eq!(stuck, 0, "what the machine does to us parks and kills nothing");
}

/// Byte for byte.
pub(crate) async fn the_tables_are_what_the_log_says(platform: &Besieged) {
    let verify = Command::new(program("replay-tool"))
        .arg("verify")
        .env("DATABASE_URL", &platform.database.url)
        .output();
    let verify = verify.expect("`cargo build --bins` makes it");
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
}
