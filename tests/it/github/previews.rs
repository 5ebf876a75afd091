use std::time::Duration;

use serde_json::{Value, json};

use super::{NAME, World, world};

/// A world whose project makes previews.
pub(super) async fn with_previews(previews: Value) -> World {
    let w = world().await;
    let path = format!("/projects/{}", w.project.id);
    w.owner.patch(&path, json!({ "previews": previews })).await.expect(200);
    w
}

impl World {
    /// Changes pull request 12 and has that delivered; its head.
    pub(super) async fn pull(&self, guid: &str, action: &str, more: Value) -> String {
        let mut body = json!({ "full_name": NAME, "number": 12, "action": action, "guid": guid });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let told = self.github.tell("pull", body).await;
        assert_eq!(told["delivery"]["status"], 202, "{told}");
        told["sha"].as_str().unwrap().to_owned()
    }

    /// The preview of pull request 12.
    pub(super) async fn preview(&self) -> Option<Value> {
        let path = format!("/projects/{}/environments", self.project.id);
        let list = self.owner.get(&path).await.expect(200);
        list["items"].as_array().unwrap().iter().find(|it| it["pullRequest"]["number"] == 12).cloned()
    }

    /// Waits until what answers at the preview's address was built of these files' version.
    pub(super) async fn serves(&self, version: &str) {
        let patience = Duration::from_secs(90);
        self.app
            .wait_until(&format!("the preview serves {version}"), patience, async || {
                let answer = self.owner.get("//p/acme/agent/pr-12/api/version").await;
                answer.status == 200 && answer.body["version"] == version
            })
            .await;
    }

    async fn builds(&self) -> Vec<Value> {
        let path = format!("/projects/{}/builds", self.project.id);
        self.owner.get(&path).await.expect(200)["items"].as_array().unwrap().clone()
    }
}

/// Files of a version.
pub(super) fn version(version: &str) -> Value {
    json!({ "behaviour.json": json!({ "version": version }).to_string() })
}

#[tokio::test]
async fn a_pull_request_has_a_preview_of_its_head_until_it_is_closed() {
    let w = with_previews(json!({})).await;
    let variable = |value: &str, sensitive: bool, environment: Option<&str>| json!({ "value": value, "sensitive": sensitive, "availability": "both", "environment": environment });
    let of_project = format!("/projects/{}/env-vars", w.project.id);
    for (key, body) in [
        ("SHARED", variable("seen", false, None)),
        ("SECRET", variable("of-production", true, None)),
        ("OWN", variable("of-production", false, Some(&w.project.production))),
    ] {
        w.owner.put(&format!("{of_project}/{key}"), body).await.expect(200);
    }
    let head = w.pull("opened", "opened", json!({ "files": version("2") })).await;
    let outcome = w.reason("opened", "build_requested").await;
    let preview = w.preview().await.unwrap();
    assert_eq!((&preview["slug"], &preview["type"]), (&json!("pr-12"), &json!("preview")));
    assert_eq!(outcome["environmentId"], preview["id"]);
    assert_eq!(preview["pullRequest"]["commitSha"], json!(head));
    w.serves("2").await;

    // What is of production does not reach what a pull request brings, neither when it runs nor when it is built.
    let env = w.owner.get("//p/acme/agent/pr-12/api/env").await.expect(200);
    assert_eq!((&env["SHARED"], &env["SECRET"], &env["OWN"]), (&json!("seen"), &Value::Null, &Value::Null));
    let pending = format!("/environments/{}/env-vars/pending", outcome["environmentId"].as_str().unwrap());
    let pending = w.owner.get(&pending).await.expect(200);
    assert_eq!(pending["items"], json!([]), "what is withheld is not to come");

    // The chain leads from the deployment back to the delivery.
    let build = w.owner.get(&format!("/builds/{}", outcome["buildId"].as_str().unwrap())).await.expect(200);
    let delivery = w.settled("opened").await["id"].clone();
    assert_eq!((&build["commitSha"], &build["trigger"]["deliveryId"]), (&json!(head), &delivery));

    // Another commit is another build and more time; a late delivery of the first changes nothing.
    let print = json!({ "behaviour.json": json!({ "version": "3" }).to_string(), "x": "y" });
    let newer = w.pull("pushed", "synchronize", json!({ "files": print })).await;
    w.reason("pushed", "build_requested").await;
    w.serves("3").await;
    let late = w.github.deliver("pull_request", Some("opened"), late(&w, &head), "late").await;
    assert_eq!(late["status"], 202, "{late}");
    w.reason("late", "already_built").await;
    let now = w.preview().await.unwrap();
    assert_eq!((&now["id"], &now["pullRequest"]["commitSha"]), (&preview["id"], &json!(newer)));
    assert!(now["pullRequest"]["expiresAt"].as_str() > preview["pullRequest"]["expiresAt"].as_str());
    assert_eq!(w.builds().await.len(), 2);

    w.pull("labeled", "labeled", json!({})).await;
    w.reason("labeled", "not_of_interest").await;
    w.pull("closed", "closed", json!({ "state": "closed" })).await;
    w.reason("closed", "preview_removed").await;
    assert_eq!(w.preview().await, None);
    w.app
        .wait_until("nothing answers any more", Duration::from_secs(60), async || {
            w.owner.get("//p/acme/agent/pr-12/api/version").await.status != 200
        })
        .await;
    let late = w.github.deliver("pull_request", Some("opened"), self::late(&w, &head), "later").await;
    assert_eq!(late["status"], 202, "{late}");
    w.reason("later", "pull_request_closed").await;
    assert_eq!(w.preview().await, None, "what is closed stays gone, whatever comes late");
    w.github.had_no_violations().await;
}

/// What was told of the pull request long ago.
fn late(w: &World, head: &str) -> Value {
    json!({
        "number": 12, "action": "synchronize",
        "pull_request": { "number": 12, "head": { "sha": head }, "updated_at": "2020-01-01T00:00:00Z" },
        "repository": { "id": w.repository, "full_name": NAME },
        "installation": { "id": tests::github::INSTALLATION },
    })
}

#[tokio::test]
async fn what_is_allowed_to_have_secrets_has_them() {
    let w = with_previews(json!({ "productionSecrets": true })).await;
    let secret = json!({ "value": "of-production", "sensitive": true });
    w.owner.put(&format!("/projects/{}/env-vars/SECRET", w.project.id), secret).await.expect(200);
    w.pull("opened", "opened", json!({ "files": version("2") })).await;
    w.serves("2").await;
    let env = w.owner.get("//p/acme/agent/pr-12/api/env").await.expect(200);
    assert_eq!(env["SECRET"], "of-production");
}

#[tokio::test]
async fn what_a_fork_brings_waits_for_a_person_and_each_commit_anew() {
    let w = with_previews(json!({ "forks": "on_approval", "productionSecrets": true })).await;
    let secret = json!({ "value": "of-production", "sensitive": true, "availability": "both" });
    w.owner.put(&format!("/projects/{}/env-vars/SECRET", w.project.id), secret).await.expect(200);
    let fork = |number: &str| json!({ "fork": true, "branch": "main", "files": version(number) });
    let first = w.pull("opened", "opened", fork("2")).await;
    w.reason("opened", "waits_for_approval").await;
    let preview = w.preview().await.unwrap();
    assert_eq!(preview["pullRequest"]["waitsForApproval"], true, "{preview}");
    assert_eq!(w.builds().await.len(), 0);
    let id = preview["id"].as_str().unwrap();
    // Nor by the back door.
    let body = json!({ "environment": id });
    let refused = w.owner.post(&format!("/projects/{}/builds", w.project.id), body).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (409, "not_approved"));

    let approve = async |commit: &str| {
        let path = format!("/environments/{id}/approve");
        w.owner.post(&path, json!({ "commitSha": commit })).await
    };
    let second = w.pull("pushed", "synchronize", fork("3")).await;
    w.reason("pushed", "waits_for_approval").await;
    let moved = approve(&first).await;
    assert_eq!((moved.status, moved.str("code").as_str()), (409, "pull_request_moved"));
    let approved = approve(&second).await.expect(200);
    assert_eq!(approved["pullRequest"]["waitsForApproval"], false, "{approved}");
    w.serves("3").await;
    let builds = w.builds().await;
    assert_eq!((builds.len(), &builds[0]["commitSha"]), (1, &json!(second)));
    assert_eq!(builds[0]["branch"], "pull/12/head", "what a fork calls `main` is not the project's");
    let env = w.owner.get("//p/acme/agent/pr-12/api/env").await.expect(200);
    assert_eq!(env["SECRET"], Value::Null, "forks never have secrets of the project");
    let chain: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events b JOIN events a ON b.metadata ->> 'causation' LIKE '%' || a.event_id
          WHERE b.event_type = 'build.requested' AND a.event_type = 'project.preview_approved'",
    )
    .fetch_one(w.app.db.pool())
    .await
    .unwrap();
    assert_eq!(chain, 1, "the build is because of the approval");

    w.pull("again", "synchronize", fork("4")).await;
    w.reason("again", "waits_for_approval").await;
    assert_eq!(w.builds().await.len(), 1, "an approval is of one commit");
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn without_being_asked_for_there_are_no_previews() {
    let w = world().await;
    w.pull("opened", "opened", json!({ "files": version("2") })).await;
    w.reason("opened", "pull_request").await;
    let path = format!("/projects/{}", w.project.id);
    let refused = w.owner.patch(&path, json!({ "previews": { "ttlHours": 0 } })).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("previews.ttlHours")));
    w.owner.patch(&path, json!({ "previews": {} })).await.expect(200);
    let fork = json!({ "number": 13, "fork": true, "files": version("2") });
    w.pull("fork", "opened", fork).await;
    w.reason("fork", "pull_request_of_fork").await;
    assert_eq!(w.builds().await.len(), 0);
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn a_preview_is_gone_when_its_time_is_over_and_back_with_another_push() {
    let w = with_previews(json!({ "ttlHours": 1 })).await;
    w.pull("opened", "opened", json!({ "files": version("2") })).await;
    w.serves("2").await;
    w.pull("pushed", "synchronize", json!({ "files": version("3") })).await;
    w.serves("3").await;
    // The timer of the first push finds that there is more time.
    let due =
        "UPDATE work SET run_at = now() WHERE id = (SELECT id FROM work WHERE process = 'expire_preview'
                AND state = 'ready' ORDER BY run_at LIMIT 1)";
    let waiting = "SELECT count(*) FROM work WHERE process = 'expire_preview' AND state <> 'done'";
    for (left, is_there) in [(1i64, true), (0, false)] {
        sqlx::query(due).execute(w.app.db.pool()).await.unwrap();
        w.app
            .wait_until("the timer has rung", Duration::from_secs(30), async || {
                let now: i64 = sqlx::query_scalar(waiting).fetch_one(w.app.db.pool()).await.unwrap();
                now == left
            })
            .await;
        w.app
            .wait_until("it is seen", Duration::from_secs(30), async || {
                w.preview().await.is_some() == is_there
            })
            .await;
    }
    w.app
        .wait_until("nothing answers any more", Duration::from_secs(60), async || {
            w.owner.get("//p/acme/agent/pr-12/api/version").await.status != 200
        })
        .await;
    w.pull("more", "synchronize", json!({ "files": version("4") })).await;
    w.serves("4").await;
    w.github.had_no_violations().await;
}

/// The pull requests of a server that was away.
async fn changed_while_away(w: &mut World, changes: &[Value]) {
    w.app.kill().await;
    for change in changes {
        let mut silent = json!({ "full_name": NAME });
        for (key, value) in change.as_object().unwrap() {
            silent[key] = value.clone();
        }
        w.github.tell("pull", silent).await;
    }
    let looks = looks(w).await;
    w.app.kill_and_restart().await;
    w.owner = w.app.owner().await;
    let patience = Duration::from_secs(60);
    w.app.wait_until("it looks at pull requests", patience, async || self::looks(w).await > looks).await;
}

/// How often the open pull requests were asked for.
async fn looks(w: &World) -> usize {
    let paths = w.github.state().await["paths"].as_array().unwrap().clone();
    paths.iter().filter(|path| **path == format!("GET /repos/{NAME}/pulls")).count()
}

#[tokio::test]
async fn what_became_of_pull_requests_while_nobody_listened_is_found_at_the_start() {
    let mut w = world().await;
    let open = |number: u32, branch: &str, files: Value| json!({ "number": number, "branch": branch, "files": files });
    let mut early = open(11, "early", version("1"));
    early["full_name"] = NAME.into();
    w.github.tell("pull", early).await;
    w.owner.patch(&format!("/projects/{}", w.project.id), json!({ "previews": {} })).await.expect(200);
    let found = |number: u32| format!("found/{}/refs/pull/{number}/head/", w.repository);
    let (early, late) = (found(11), found(12));
    w.reason(&early, "first_seen").await;

    changed_while_away(&mut w, &[open(12, "late", version("2"))]).await;
    w.reason(&late, "build_requested").await;
    w.serves("2").await;
    let pushed = json!({ "behaviour.json": json!({ "version": "3" }).to_string(), "x": "y" });
    changed_while_away(&mut w, &[open(12, "late", pushed.clone()), open(11, "early", pushed)]).await;
    w.serves("3").await;
    w.reason(&early, "build_requested").await;
    assert_eq!(w.builds().await.len(), 3);

    changed_while_away(&mut w, &[json!({ "number": 12, "branch": "late", "state": "closed" })]).await;
    w.reason(&format!("{late}{}", closing(&w, &late).await), "preview_removed").await;
    w.app.settle().await;
    assert_eq!(w.preview().await, None);
    // Who looks again finds nothing: at the start, and whenever the settings change.
    let count = async |w: &World| {
        let query = "SELECT count(*) FROM deliveries";
        sqlx::query_scalar::<_, i64>(query).fetch_one(w.app.db.pool()).await.unwrap()
    };
    let before = count(&w).await;
    changed_while_away(&mut w, &[]).await;
    let longer = json!({ "previews": { "ttlHours": 100 } });
    w.owner.patch(&format!("/projects/{}", w.project.id), longer).await.expect(200);
    w.app.settle().await;
    assert_eq!((count(&w).await, w.builds().await.len()), (before, 3));
    w.github.had_no_violations().await;
}

/// The rest of the id of the delivery that closes.
async fn closing(w: &World, prefix: &str) -> String {
    let mut found = None;
    let query = "SELECT substr(delivery_id, $2) FROM deliveries WHERE delivery_id LIKE $1 || '%/closed'";
    let from = i32::try_from(prefix.len()).unwrap() + 1;
    w.app
        .wait_until("the closing is found", Duration::from_secs(60), async || {
            let row = sqlx::query_scalar(query).bind(prefix).bind(from).fetch_optional(w.app.db.pool());
            found = row.await.unwrap();
            found.is_some()
        })
        .await;
    found.unwrap()
}
