use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::github::{GitHub, INSTALLATION, SECRET};

use super::{World, world};
use crate::cli::{Deploy, tiny};

const PATH: &str = "//api/webhooks/github";

async fn count(app: &TestApp, what: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM {what}")).fetch_one(app.db.pool()).await.unwrap()
}

#[tokio::test]
async fn nothing_is_believed_that_is_not_signed_and_without_a_secret_there_is_no_door() {
    let github = GitHub::start().await;
    let app = github.app(&[]).await;
    let nobody = app.nobody();
    let forged = github.tell("webhook", json!({ "event": "push", "badSignature": true })).await;
    assert_eq!(forged["status"], 401, "{forged}");
    let other = github.tell("webhook", json!({ "event": "push", "secret": "another" })).await;
    assert_eq!(other["status"], 401, "{other}");
    let plain = nobody.request(Method::POST, PATH).header("x-github-event", "push").body("{}");
    assert_eq!(Client::send(plain).await.status, 401);
    // GitHub's published vector: signed, and no delivery.
    let published = nobody
        .request(Method::POST, PATH)
        .header("x-github-event", "push")
        .header("x-github-delivery", "d1")
        .header(
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        )
        .body("Hello, World!");
    let published = Client::send(published).await;
    assert_eq!((published.status, &published.body["errors"][0]["field"]), (422, &json!("body")));
    let large = nobody.request(Method::POST, PATH).body(vec![b' '; 26 << 20]);
    assert_eq!(Client::send(large).await.status, 413);
    assert_eq!(count(&app, "deliveries").await, 0);
    assert!(count(&app, "events WHERE event_type = 'access.signature_refused'").await > 0);
    assert!(!app.log().contains(SECRET));

    let closed = TestApp::start().await;
    github.listens(&closed).await;
    let refused = github.tell("webhook", json!({ "event": "ping" })).await;
    assert_eq!(refused["status"], 404, "{refused}");
}

#[tokio::test]
async fn every_example_of_github_is_stored_once_and_has_a_reason() {
    let w = world().await;
    let of = json!({ "installation": { "id": INSTALLATION } });
    for (event, action, reason) in [
        ("ping", None, "ping"),
        ("push", None, "repository_not_connected"),
        ("pull_request", Some("opened"), "repository_not_connected"),
        ("repository", Some("privatized"), "repository_not_connected"),
        ("installation_repositories", Some("added"), "not_of_interest"),
        ("star", Some("created"), "not_of_interest"),
        ("issues", Some("opened"), "not_of_interest"),
    ] {
        let guid = format!("example-{event}");
        let mut fields = of.clone();
        if event == "push" {
            fields["ref"] = "refs/heads/main".into();
            fields["after"] = "a".repeat(40).into();
            fields["deleted"] = false.into();
        }
        let first = w.github.deliver(event, action, fields.clone(), &guid).await;
        assert_eq!(first["status"], 202, "{event}: {first}");
        let again = w.github.deliver(event, action, fields, &guid).await;
        assert_eq!(again["status"], 200, "{event}: {again}");
        let delivery = w.settled(&guid).await;
        assert_eq!(delivery["outcomes"][0]["reason"], reason, "{delivery}");
        let path = format!("/teams/acme/deliveries/{}", delivery["id"].as_str().unwrap());
        assert_eq!(w.owner.get(&path).await.expect(200), delivery);
    }
    assert_eq!(count(&w.app, "deliveries WHERE delivery_id LIKE 'example-%'").await, 7);
    assert_eq!(count(&w.app, "deliveries WHERE settled_at IS NOT NULL AND body IS NOT NULL").await, 0);
    assert_eq!(count(&w.app, "events WHERE event_type = 'build.requested'").await, 0);
}

#[tokio::test]
async fn installations_and_repositories_follow_what_github_tells() {
    let w = world().await;
    let status = async || {
        let listed = w.owner.get("/teams/acme/installations").await.expect(200);
        listed["items"][0]["status"].as_str().unwrap_or("none").to_owned()
    };
    let of = json!({ "installation": { "id": INSTALLATION } });
    let is_now = async |what: Value| {
        let mut body = json!({ "id": INSTALLATION });
        body.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        w.github.tell("installation", body).await;
    };
    let (suspended, active) = (json!("2026-01-01T00:00:00Z"), Value::Null);
    // What it is by then counts, in whichever order it is told.
    for (at_github, action, reason, now) in [
        (&suspended, "suspend", "installation_suspended", "suspended"),
        (&suspended, "unsuspend", "no_change", "suspended"),
        (&active, "suspend", "installation_active", "active"),
        (&active, "unsuspend", "no_change", "active"),
    ] {
        is_now(json!({ "suspended": at_github })).await;
        let guid = format!("{action}-{reason}-{now}");
        w.github.deliver("installation", Some(action), of.clone(), &guid).await;
        w.reason(&guid, reason).await;
        w.app.wait_until("it is seen", Duration::from_secs(20), async || status().await == now).await;
    }
    let mut moved = of.clone();
    moved["repository"] = json!({ "id": w.repository, "full_name": "acme/renamed" });
    w.github.deliver("repository", Some("renamed"), moved.clone(), "renamed").await;
    w.reason("renamed", "repository_moved").await;
    let project = w.owner.get(&format!("/projects/{}", w.project.id)).await.expect(200);
    assert_eq!(project["repoUrl"], w.github.repo_url("acme/renamed"));
    moved["repository"]["full_name"] = "acme/--upload-pack=x;$(id)".into();
    w.github.deliver("repository", Some("renamed"), moved.clone(), "hostile").await;
    let hostile = w.reason("hostile", "unreadable").await;
    assert!(hostile["detail"].as_str().unwrap().starts_with("repository.full_name"), "{hostile}");
    moved["action"] = "deleted".into();
    w.github.deliver("repository", Some("renamed"), moved, "deleted").await;
    w.reason("deleted", "repository_deleted").await;
    is_now(json!({ "gone": true })).await;
    w.github.deliver("installation", Some("deleted"), of, "uninstalled").await;
    w.reason("uninstalled", "installation_removed").await;
    w.app.wait_until("it is seen", Duration::from_secs(20), async || status().await == "none").await;
    let actors: Value = w.owner.get("/teams/acme/audit?action=team.installation_removed").await.expect(200);
    assert!(actors["items"][0]["actor"].as_str().unwrap().starts_with("github:"), "{actors}");
}

#[tokio::test]
async fn the_last_of_a_branch_is_kept_only_while_somebody_follows_it() {
    let w = world().await;
    // One that finds the query tables, as the server's do.
    let pool = &projections::pool::connect(&w.app.db.url(), 2).await.unwrap();
    let insert = "INSERT INTO deliveries (id, source, delivery_id, kind, repository, reference, received_at, settled_at)
                  VALUES (gen_random_uuid(), 'github', $1, 'push', $2, 'refs/heads/' || $1, now(), now())";
    for (branch, repository) in [("feature/1", w.repository), ("main", 1)] {
        sqlx::query(insert).bind(branch).bind(repository).execute(pool).await.unwrap();
    }
    let pull = "INSERT INTO deliveries (id, source, delivery_id, kind, action, repository, reference, received_at, settled_at)
                VALUES (gen_random_uuid(), 'github', $1, 'pull_request', $2, $3, 'refs/pull/' || $1 || '/head', now(), now())";
    for (number, action) in [("1", "opened"), ("2", "closed")] {
        sqlx::query(pull).bind(number).bind(action).bind(w.repository).execute(pool).await.unwrap();
    }
    let kept = async || {
        projections::inbox::forget_before(pool, chrono::Utc::now() + chrono::TimeDelta::days(1))
            .await
            .unwrap();
        let kept: Vec<(String, i64)> =
            sqlx::query_as("SELECT reference, repository FROM deliveries ORDER BY 1")
                .fetch_all(pool)
                .await
                .unwrap();
        kept
    };
    let main = ("refs/heads/main".to_owned(), w.repository);
    let project = format!("/projects/{}", w.project.id);
    w.owner.patch(&project, json!({ "previews": {} })).await.expect(200);
    w.app.settle().await;
    let looked = ("refs/pull".to_owned(), w.repository);
    let open = ("refs/pull/1/head".to_owned(), w.repository);
    assert_eq!(kept().await, [main.clone(), looked.clone(), open]);
    w.owner.patch(&project, json!({ "previews": null })).await.expect(200);
    w.app.settle().await;
    assert_eq!(kept().await, [main, looked]);
}

/// Holds the lane of a repository. Dropping it lets the lease run out.
struct Hold(tokio::task::JoinHandle<()>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whatever is told of the repository waits from here on, as behind a worker that lives.
async fn hold(w: &World) -> Hold {
    let hold = "INSERT INTO work (id, process, key, lane, payload, state, run_at, attempts, lease_owner, lease_until,
                                  fence, cause_event, cause_position, correlation, created_at)
                VALUES (gen_random_uuid(), 'take_delivery', 'hold', 'take_delivery:github/repository/' || $1, '{}',
                        'running', now(), 1, 'test', now() + interval '25 s', 0, gen_random_uuid(), 0, 'x', now())";
    sqlx::query(hold).bind(w.repository.to_string()).execute(w.app.db.pool()).await.unwrap();
    let pool = w.app.db.pool().clone();
    Hold(tokio::spawn(async move {
        let beat = "UPDATE work SET lease_until = now() + interval '25 s' WHERE key = 'hold'";
        let mut pace = tokio::time::interval(Duration::from_secs(5));
        loop {
            pace.tick().await;
            sqlx::query(beat).execute(&pool).await.unwrap();
        }
    }))
}

/// It has been held until now, and waits no more.
async fn release(w: &World, hold: Hold) {
    let held = count(&w.app, "work WHERE key = 'hold' AND state = 'running' AND lease_owner = 'test'").await;
    assert_eq!(held, 1);
    drop(hold);
    sqlx::query("DELETE FROM work WHERE key = 'hold'").execute(w.app.db.pool()).await.unwrap();
}

#[tokio::test]
async fn a_push_that_had_to_wait_does_not_replace_what_was_uploaded_meanwhile() {
    let w = world().await;
    let upload = async || {
        let deploy = Deploy::begin(&w.owner, &w.project, json!({})).await;
        assert_eq!(deploy.put(tiny(1)).await.status, 200);
        deploy.complete(&w.owner).await.expect(202)["deploy"]["id"].clone()
    };
    let held = hold(&w).await;
    let (guid, _) = w.push(json!({ "files": { "note.txt": "1" } })).await;
    let uploaded = upload().await;
    w.app.until_status(&w.owner, &format!("/builds/{}", uploaded.as_str().unwrap()), &["ready"]).await;
    // The clock of the server that took it was ahead.
    let ahead = "UPDATE deliveries SET received_at = received_at + interval '1 hour'";
    sqlx::query(ahead).execute(w.app.db.pool()).await.unwrap();
    release(&w, held).await;
    let outcome = w.reason(&guid, "newer_upload").await;
    assert_eq!(outcome["buildId"], uploaded);
    assert_eq!(count(&w.app, "events WHERE event_type = 'build.requested'").await, 1);
    // What is pushed after an upload is newer, and so is a push of which the upload came to nothing.
    let (guid, _) = w.push(json!({ "files": { "note.txt": "2" } })).await;
    w.reason(&guid, "build_requested").await;
    let held = hold(&w).await;
    let (guid, _) = w.push(json!({ "files": { "note.txt": "3" } })).await;
    let uploaded = upload().await;
    let path = format!("/builds/{}", uploaded.as_str().unwrap());
    w.owner.post(&format!("{path}/cancel"), json!({})).await;
    w.app.until_status(&w.owner, &path, &["cancelled", "failed"]).await;
    release(&w, held).await;
    w.reason(&guid, "build_requested").await;
}

/// Its lane is busy, so it waits; then the server is killed. It is worked on after that, once.
#[tokio::test]
async fn what_was_answered_is_worked_on_although_the_server_was_killed_before() {
    let mut w = world().await;
    let held = hold(&w).await;
    let (guid, commit) = w.push(json!({ "files": { "note.txt": "1" } })).await;
    w.app.kill().await;
    assert_eq!(count(&w.app, "deliveries WHERE settled_at IS NULL").await, 1);
    release(&w, held).await;
    w.app.kill_and_restart().await;
    w.github.listens(&w.app).await;
    w.owner = w.app.owner().await;
    let outcome = w.reason(&guid, "build_requested").await;
    let again = w.github.deliver("push", None, json!({}), &guid).await;
    assert_eq!(again["status"], 200, "{again}");
    w.app.settle().await;
    assert_eq!(count(&w.app, "events WHERE event_type = 'build.requested'").await, 1);
    let build = outcome["buildId"].as_str().unwrap();
    let built = w.app.until_status(&w.owner, &format!("/builds/{build}"), &["ready", "failed"]).await;
    assert_eq!((&built["status"], &built["commitSha"]), (&json!("ready"), &json!(commit)), "{built}");
}
