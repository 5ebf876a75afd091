//! `minScale` above 1: several servers of a deployment, behind one address.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::docker;
use tests::world::{Project, project, team};
use tokio::task::JoinHandle;

use crate::engine_api;

/// Who asks at a time.
const CLIENTS: usize = 8;

const LONG: Duration = Duration::from_secs(120);

/// People who ask one request after the other until they are told to stop; each answer is a good one.
struct Load {
    done: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    /// Names of the servers that answered.
    names: Arc<Mutex<BTreeSet<String>>>,
    people: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(app: &TestApp, project: &Project) -> Self {
        let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let people = (0..CLIENTS).map(|n| {
            let (client, url) = (app.nobody(), project.url(&format!("/api/who?ms={}", n * 5)));
            let (done, answered, names) = (done.clone(), answered.clone(), names.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let answer = client.get(&url).await;
                    assert_eq!(answer.status, 200, "after {answered:?} requests: {}", answer.text);
                    names.lock().unwrap().insert(answer.str("name"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let people = people.collect();
        Self { done, answered, names, people }
    }

    /// Waits until so many servers have answered, while no request fails.
    async fn hears(&self, app: &TestApp, servers: usize) {
        app.wait_until(&format!("{servers} servers have answered"), LONG, async || {
            assert!(self.people.iter().all(|one| !one.is_finished()), "a request failed");
            self.names.lock().unwrap().len() >= servers
        })
        .await;
    }

    /// The names that are heard from now on alone.
    fn forget(&self) {
        self.names.lock().unwrap().clear();
    }

    /// Answers how many requests were answered; panics if one was not.
    async fn end(self) -> usize {
        self.done.store(true, Ordering::Relaxed);
        for one in self.people {
            one.await.expect("no request failed");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

/// What there is at the engine of this platform's servers.
async fn containers(app: &TestApp) -> Vec<Value> {
    let instance = std::fs::read_to_string(app.dir.path().join("data/docker/instance")).unwrap();
    let host = &docker::engine().await.host;
    let ours = engine_api::containers(host, &format!("mastra-admin.instance={instance}")).await;
    ours.into_iter().filter(|one| one["Labels"]["mastra-admin.kind"] == "server").collect()
}

/// The id of the container of one of a deployment's servers.
async fn container(app: &TestApp, deployment: &str, number: &str) -> String {
    let all = containers(app).await;
    let it = all.iter().find(|one| {
        let labels = &one["Labels"];
        labels["mastra-admin.deployment"] == deployment && labels["mastra-admin.replica"] == number
    });
    it.unwrap_or_else(|| panic!("{all:?}"))["Id"].as_str().unwrap().to_owned()
}

async fn kill(app: &TestApp, deployment: &str, number: &str) {
    let container = container(app, deployment, number).await;
    engine_api::kill(&docker::engine().await.host, &container).await;
}

/// What the log says of a deployment, in the order in which it happened.
async fn story(app: &TestApp, deployment: &str) -> Vec<(String, Value)> {
    let query = "SELECT event_type, payload FROM events WHERE aggregate_id = $1 ORDER BY position";
    sqlx::query_as(query).bind(deployment).fetch_all(app.db.pool()).await.unwrap()
}

/// Waits until its servers have come and gone so often.
async fn changed(app: &TestApp, deployment: &str, times: usize) -> Vec<Value> {
    let mut changes = Vec::new();
    app.wait_until(&format!("its servers have changed {times} times"), LONG, async || {
        let story = story(app, deployment).await;
        let of = story.into_iter().filter(|(kind, _)| kind == "deployment.replicas_changed");
        changes = of.map(|(_, payload)| payload).collect();
        changes.len() >= times
    })
    .await;
    changes
}

async fn starts(app: &TestApp, deployment: &str) -> usize {
    story(app, deployment).await.iter().filter(|(kind, _)| kind == "deployment.starting").count()
}

/// Three servers that have proved themselves.
async fn three(app: &TestApp, owner: &Client) -> (Project, String) {
    team(owner, "acme").await;
    let repository = app.repository("tiny", "tiny");
    let project = project(owner, "acme", "agent", &repository, json!({ "minScale": 3 })).await;
    let shown = project.deployed(app, owner).await;
    assert_eq!((&shown["status"], &shown["replicas"]), (&json!("running"), &json!(3)), "{shown}");
    let until: DateTime<Utc> = shown["probationEndsAt"].as_str().unwrap().parse().unwrap();
    app.wait_until("it has proved itself", LONG, async || Utc::now() > until).await;
    (project, shown["id"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_answer_while_one_is_killed_and_while_others_take_over() {
    let app = TestApp::start_with(&docker::engine().await.settings()).await;
    let owner = app.owner().await;
    let (project, first) = three(&app, &owner).await;
    let load = Load::start(&app, &project);
    load.hears(&app, 3).await;

    kill(&app, &first, "2").await;
    let changes = changed(&app, &first, 2).await;
    assert_eq!(changes[0]["addresses"].as_array().unwrap().len(), 2, "{changes:?}");
    assert_eq!(changes[0]["message"], "it was ended by signal 9");
    assert_eq!(changes[1]["addresses"].as_array().unwrap().len(), 3, "{changes:?}");
    assert_eq!(changes[1]["message"], Value::Null);
    load.hears(&app, 4).await;
    app.settle().await;
    assert_eq!(starts(&app, &first).await, 1, "the others went on");
    let shown = owner.get(&format!("/deployments/{first}")).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["replicas"], &shown["crashes"]),
        (&json!("running"), &json!(3), &json!(0))
    );

    // All three give way to three others.
    let again = owner.post(&format!("/deployments/{first}/restart"), json!({})).await.expect(202);
    let second = again["id"].as_str().unwrap().to_owned();
    app.until_status(&owner, &format!("/deployments/{second}"), &["running"]).await;
    app.until_status(&owner, &format!("/deployments/{first}"), &["superseded"]).await;
    app.settle().await;
    let left = containers(&app).await;
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().all(|one| one["Labels"]["mastra-admin.deployment"] == second.as_str()), "{left:?}");
    load.forget();
    load.hears(&app, 3).await;
    let answered = load.end().await;
    assert!(answered > 100, "{answered} requests are no load");

    owner.post(&format!("/deployments/{second}/stop"), json!({})).await.expect(200);
    app.wait_until("no container is left", LONG, async || containers(&app).await.is_empty()).await;
    let shown = owner.get(&format!("/deployments/{second}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["replicas"]), (&json!("stopped"), &json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_was_away_finds_its_servers_and_replaces_the_lost() {
    let mut app = TestApp::start_with(&docker::engine().await.settings()).await;
    let owner = app.owner().await;
    let (project, id) = three(&app, &owner).await;
    let kept = [container(&app, &id, "1").await, container(&app, &id, "3").await];
    app.signal("STOP").await;
    kill(&app, &id, "2").await;
    app.kill_and_restart().await;

    let owner = app.owner().await;
    let load = Load::start(&app, &project);
    changed(&app, &id, 2).await;
    load.hears(&app, 3).await;
    assert!(load.end().await > 0);
    assert_eq!([container(&app, &id, "1").await, container(&app, &id, "3").await], kept);
    assert_eq!((starts(&app, &id).await, containers(&app).await.len()), (1, 3), "nobody noticed");
    owner.post(&format!("/deployments/{id}/stop"), json!({})).await.expect(200);
    app.wait_until("no container is left", LONG, async || containers(&app).await.is_empty()).await;
}

#[tokio::test]
async fn more_than_ten_are_refused_and_the_local_runner_runs_one() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let repository = app.repository("tiny", "tiny");
    let project = project(&owner, "acme", "agent", &repository, json!({ "minScale": 10 })).await;
    let whole = json!({ "name": "b", "slug": "b", "repoUrl": repository, "minScale": 11 });
    for refused in [
        owner.post("/teams/acme/projects", whole).await,
        owner.patch(&format!("/projects/{}", project.id), json!({ "minScale": 11 })).await,
    ] {
        let (field, status) = (&refused.body["errors"][0]["field"], refused.status);
        assert_eq!((status, field), (422, &json!("minScale")), "{}", refused.text);
    }
    let shown = project.deployed(&app, &owner).await;
    assert_eq!((&shown["status"], &shown["replicas"]), (&json!("running"), &json!(1)), "{shown}");
    let logs = owner.get(&format!("/deployments/{}/logs", shown["id"].as_str().unwrap())).await;
    assert!(logs.text.contains("The local runner runs one server of a deployment, not 10"), "{}", logs.text);
}
