//! Kills the server while a git host tells it of a thousand things, each of them three times: every one is worked on once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::github::{GitHub, INSTALLATION};
use tests::tape::assert_log_is_whole;
use tests::world::{project, team};
use tokio::sync::watch;

const NAME: &str = "acme/agent";
/// How many deliveries there are.
const DELIVERIES: usize = 1000;
/// How often each is sent.
const TIMES: usize = 3;
/// So many others are sent for the first time between two of these.
const APART: usize = 100;
/// So many of them are pushes that ask for a build.
const PUSHES: usize = 20;
/// The server is killed when so many have been answered.
const KILLS: [usize; 2] = [1000, 2000];

/// One delivery, and what has to come of it.
struct Delivery {
    guid: String,
    event: &'static str,
    action: Option<&'static str>,
    fields: Value,
    reason: &'static str,
}

/// A thousand of all kinds; the pushes that are wanted are evenly among them.
async fn deliveries(github: &GitHub, repository: i64) -> Vec<Delivery> {
    let mut all = Vec::with_capacity(DELIVERIES);
    for n in 0..DELIVERIES {
        let sha = format!("{n:040x}");
        let push = |reference: &str, message: &str| json!({ "ref": reference, "after": sha, "deleted": false, "commits": [], "head_commit": { "message": message } });
        let (event, action, mut fields, reason) = match n % (DELIVERIES / PUSHES) {
            0 => {
                let branch = format!("release/{n}");
                let pushed = json!({ "full_name": NAME, "branch": branch, "files": { "n": n.to_string() }, "deliver": false });
                let head = github.tell("push", pushed).await["after"].clone();
                let mut fields = push(&format!("refs/heads/{branch}"), "a change");
                fields["after"] = head;
                ("push", None, fields, "build_requested")
            }
            k => match k % 8 {
                0 => ("push", None, push(&format!("refs/tags/v{n}"), "a change"), "tag"),
                1 => {
                    ("push", None, push(&format!("refs/heads/topic/{n}"), "a change"), "branch_not_followed")
                }
                2 => ("push", None, push("refs/heads/release/docs", "docs [skip ci]"), "skip_ci"),
                3 => ("push", None, push("refs/heads/main", "a change"), "repository_not_connected"),
                4 => ("pull_request", Some("opened"), json!({}), "pull_request"),
                5 => ("installation", Some("unsuspend"), json!({}), "no_change"),
                6 => ("star", Some("created"), json!({}), "not_of_interest"),
                _ => ("ping", None, json!({}), "ping"),
            },
        };
        let id = if reason == "repository_not_connected" { 1 } else { repository };
        if event != "installation" {
            fields["repository"] = json!({ "id": id, "full_name": NAME });
        }
        fields["installation"] = json!({ "id": INSTALLATION });
        all.push(Delivery { guid: format!("told-{n}"), event, action, fields, reason });
    }
    all
}

/// Sends a delivery until somebody answers, as who hears nothing does; whether it was new there.
async fn send(github: &GitHub, it: &Delivery) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(120) {
        let answer = github.deliver(it.event, it.action, it.fields.clone(), &it.guid).await;
        match answer["status"].as_i64() {
            Some(202) => return true,
            Some(200) => return false,
            // Nobody is there: as `wait_until` does, until somebody is.
            Some(0) => tokio::time::sleep(Duration::from_millis(25)).await,
            _ => panic!("{}: {answer}", it.guid),
        }
    }
    panic!("nobody takes {}", it.guid)
}

/// Sends each three times, sixteen at a time; how often one was new.
async fn send_all(github: &GitHub, all: &[Delivery], answered: &watch::Sender<usize>) -> usize {
    let mut order: Vec<(usize, &Delivery)> = (0..TIMES)
        .flat_map(|time| all.iter().enumerate().map(move |(n, it)| (n + time * APART, it)))
        .collect();
    order.sort_by_key(|(when, _)| *when);
    let new = AtomicUsize::new(0);
    futures_util::stream::iter(order)
        .for_each_concurrent(16, async |(_, it)| {
            if send(github, it).await {
                new.fetch_add(1, Ordering::Relaxed);
            }
            answered.send_modify(|count| *count += 1);
        })
        .await;
    new.into_inner()
}

/// Kills the server each time that so many were answered, and starts it again.
async fn kill_twice(app: &mut TestApp, github: &GitHub, mut answered: watch::Receiver<usize>) {
    for count in KILLS {
        answered.wait_for(|answered| *answered >= count).await.expect("it is sent");
        app.kill().await;
        let (stored, waiting): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE settled_at IS NULL) FROM deliveries WHERE delivery_id LIKE 'told-%'",
        )
        .fetch_one(app.db.pool())
        .await
        .unwrap();
        let all = i64::try_from(DELIVERIES).unwrap();
        assert!(waiting > 0 && stored < all, "that was no middle: {waiting} of {stored} are not worked on");
        app.kill_and_restart().await;
        github.listens(app).await;
    }
}

/// What came of each delivery, by its own id.
async fn outcomes(app: &TestApp) -> BTreeMap<String, Vec<(String, bool)>> {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT d.delivery_id, o.reason, o.build_id IS NOT NULL
           FROM deliveries d JOIN delivery_outcomes o ON o.delivery = d.id
          WHERE d.delivery_id LIKE 'told-%' AND d.settled_at IS NOT NULL AND d.body IS NULL",
    )
    .fetch_all(app.db.pool())
    .await
    .unwrap();
    let mut outcomes = BTreeMap::<String, Vec<_>>::new();
    for (id, reason, has_build) in rows {
        outcomes.entry(id).or_default().push((reason, has_build));
    }
    outcomes
}

#[tokio::test]
async fn a_thousand_deliveries_sent_three_times_with_two_kills_in_between_are_worked_on_once_each() {
    let github = GitHub::start().await;
    // What is asked to be built is no program: it ends soon.
    let files = json!({ "full_name": NAME, "files": { "README.md": "no program" } });
    let repository = github.tell("repos", files).await["id"].as_i64().unwrap();
    let mut app = github.app(&[]).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let installation = github.connect(&owner, "acme").await;
    let more = json!({ "installationId": installation });
    let it = project(&owner, "acme", "agent", &github.repo_url(NAME), more).await;
    let staging = json!({ "name": "Releases", "type": "staging", "branch": "none" });
    let staging = owner.post(&format!("/projects/{}/environments", it.id), staging).await.expect(201);
    let staging = format!("/environments/{}", staging["id"].as_str().unwrap());
    owner.patch(&staging, json!({ "branchPattern": "release/*" })).await.expect(200);
    app.settle().await;

    let all = deliveries(&github, repository).await;
    let answered = watch::Sender::new(0);
    let receiver = answered.subscribe();
    let (new, ()) = tokio::join!(send_all(&github, &all, &answered), kill_twice(&mut app, &github, receiver));
    app.settle().await;

    // Whom the kill kept from hearing that his was stored, was told at the next time that it is known.
    assert!((DELIVERIES - 32..=DELIVERIES).contains(&new), "{new} were new");
    let outcomes = outcomes(&app).await;
    for it in &all {
        let wanted = vec![(it.reason.to_owned(), it.reason == "build_requested")];
        assert_eq!(outcomes.get(&it.guid), Some(&wanted), "{}", it.guid);
    }
    let count = |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(app.db.pool());
    let told = "SELECT count(*) FROM deliveries WHERE delivery_id LIKE 'told-%'";
    assert_eq!(count(told).await.unwrap(), i64::try_from(DELIVERIES).unwrap());
    let work = "SELECT count(*) FROM work w JOIN deliveries d ON w.key = d.id::text
                 WHERE w.process = 'take_delivery' AND w.state = 'done' AND d.delivery_id LIKE 'told-%'";
    assert_eq!(count(work).await.unwrap(), i64::try_from(DELIVERIES).unwrap());
    // As many builds as pushes asked for, each for another of them.
    let (builds, pushes): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT d.delivery_id)
           FROM events e LEFT JOIN deliveries d ON d.id::text = e.payload -> 'trigger' ->> 'delivery_id'
          WHERE e.event_type = 'build.requested'",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    let wanted = i64::try_from(PUSHES).unwrap();
    assert_eq!((builds, pushes), (wanted, wanted));
    github.had_no_violations().await;
    assert_log_is_whole(app.db.pool()).await;
}
