use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::git_host::{Signer, example, gitlab};
use tests::world::{Project, delivery, project, team};

use super::{is_nowhere, text};

/// A project with a webhook, and who signs.
struct World {
    app: TestApp,
    owner: Client,
    project: Project,
    repository: PathBuf,
    hook: Value,
    secret: String,
    signer: Signer,
}

async fn world() -> World {
    world_on(TestApp::start().await).await
}

async fn world_on(app: TestApp) -> World {
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let project = project(&owner, "acme", "agent", &app.repository("tiny", "agent"), json!({})).await;
    let made = owner
        .post(&format!("/projects/{}/push-hooks", project.id), json!({ "name": "Git" }))
        .await
        .expect(201);
    let (repository, signer) = (app.repositories().join("agent"), Signer::start().await);
    let w = World {
        app,
        owner,
        project,
        repository,
        hook: made["hook"].clone(),
        secret: text(&made["secret"]),
        signer,
    };
    // From then on what is pushed is known.
    w.reason("found/", "first_seen").await;
    w
}

impl World {
    fn path(&self) -> String {
        let url = text(&self.hook["url"]);
        assert!(url.starts_with(&format!("{}/api/webhooks/git/", self.app.url)), "{url}");
        format!("/{}", url.strip_prefix(&self.app.url).unwrap())
    }

    fn commit(&self, text: &str) -> String {
        tests::repository::change(&self.repository, &[("note.txt", text)])
    }

    async fn deliver(&self, headers: &[(String, String)], body: &str) -> Answer {
        let nobody = self.app.nobody();
        let mut request =
            nobody.request(Method::POST, &self.path()).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Client::send(request.body(body.to_owned())).await
    }

    /// The delivery of this id, once it is known what came of it.
    async fn settled(&self, id: &str) -> Value {
        let end = format!("/{id}");
        delivery(&self.app, &self.owner, |known| known.ends_with(&end) || known.starts_with(id)).await
    }

    async fn reason(&self, id: &str, reason: &str) -> Value {
        let settled = self.settled(id).await;
        let outcome = settled["outcomes"][0].clone();
        assert_eq!(outcome["reason"], reason, "{id}: {settled}");
        outcome
    }
}

#[tokio::test]
async fn a_push_that_each_kind_of_host_tells_of_ends_as_a_deployment_of_that_commit() {
    let mut w = world().await;
    let mut last = String::new();
    for (form, id) in
        [("webhook", "msg_1"), ("gitea", "f6266f16"), ("gitlab", "908a6d9e"), ("gitlab", "signed")]
    {
        let commit = w.commit(id);
        let body = match form {
            "webhook" => json!({ "branch": "main", "commitSha": commit }),
            host => example(host, json!({ "after": commit, "total_commits_count": 0, "total_commits": 0 })),
        };
        let body = body.to_string();
        let headers = match (form, id) {
            // A GitLab that is given a signing token signs as Standard Webhooks say.
            ("gitlab", "signed") => {
                let mut headers = w.signer.sign("standard", &w.secret, id, &body, 0).await;
                headers.push(("X-Gitlab-Event".to_owned(), "Push Hook".to_owned()));
                headers
            }
            ("gitlab", id) => gitlab(&w.secret, id),
            ("gitea", id) => w.signer.sign("gitea", &w.secret, id, &body, 0).await,
            (_, id) => w.signer.sign("standard", &w.secret, id, &body, 0).await,
        };
        let stored = w.deliver(&headers, &body).await.expect(202);
        assert_eq!(stored, json!({ "id": id, "outcome": "stored" }));
        assert!([200, 202].contains(&w.deliver(&headers, &body).await.status), "{form}: it is sent twice");
        let outcome = w.reason(id, "build_requested").await;
        let delivery = w.settled(id).await;
        assert_eq!((&delivery["source"], &delivery["ref"]), (&json!(form), &json!("refs/heads/main")));
        let build = text(&outcome["buildId"]);
        let shown = w.owner.get(&format!("/builds/{build}")).await.expect(200);
        assert_eq!(shown["commitSha"], commit);
        assert_eq!(shown["trigger"], json!({ "source": form, "deliveryId": delivery["id"] }));
        last = build;
    }
    let chain = w.project.why_it_runs(&w.app, &w.owner, &last).await;
    assert_eq!(chain["root"], format!("request:{}", text(&w.settled("signed").await["id"])));
    let builds = w.owner.get(&format!("/projects/{}/builds", w.project.id)).await.expect(200);
    assert_eq!(builds["items"].as_array().unwrap().len(), 4, "each once");
    is_nowhere(&w.app, &w.secret).await;
}

#[tokio::test]
async fn what_asks_for_nothing_says_why_to_the_team() {
    let mut w = world().await;
    let head = w.commit("1");
    let at = |fields: Value| example("gitlab", fields);
    for (id, payload, reason) in [
        ("tag", at(json!({ "ref": "refs/tags/v1" })), "tag"),
        ("gone", at(json!({ "after": "0".repeat(40) })), "branch_deleted"),
        ("other", at(json!({ "ref": "refs/heads/feature/#1" })), "branch_not_followed"),
        ("amp", at(json!({ "ref": "refs/heads/a&b" })), "branch_not_followed"),
        ("japan", at(json!({ "ref": "refs/heads/日本" })), "branch_not_followed"),
        ("hostile", at(json!({ "ref": "refs/heads/--upload-pack=x" })), "unreadable"),
        ("no-sha", at(json!({ "after": "$(id)" })), "unreadable"),
        (
            "skipped",
            at(json!({ "after": head, "commits": [{ "id": head, "message": "docs [skip ci]" }] })),
            "skip_ci",
        ),
    ] {
        w.deliver(&gitlab(&w.secret, id), &payload.to_string()).await.expect(202);
        w.reason(id, reason).await;
    }
    let mut note = gitlab(&w.secret, "note");
    note.retain(|(name, _)| name != "X-Gitlab-Event");
    note.push(("X-Gitlab-Event".to_owned(), "Note Hook".to_owned()));
    w.deliver(&note, "{}").await.expect(202);
    w.reason("note", "not_of_interest").await;

    // A path that is watched, or not.
    let watched = json!({ "watchPaths": ["apps/agent/**"] });
    w.owner.patch(&format!("/projects/{}", w.project.id), watched).await.expect(200);
    w.deliver(&gitlab(&w.secret, "paths"), &at(json!({ "after": head })).to_string()).await.expect(202);
    w.reason("paths", "paths_unchanged").await;
    let own = json!({ "branch": "main", "paths": ["apps/agent/x.ts"] }).to_string();
    let headers = w.signer.sign("standard", &w.secret, "own", &own, 0).await;
    w.deliver(&headers, &own).await.expect(202);
    let outcome = w.reason("own", "build_requested").await;
    let build = w.owner.get(&format!("/builds/{}", text(&outcome["buildId"]))).await.expect(200);
    assert_eq!(build["commitSha"], head, "a branch without a commit is where the host says");

    // An older commit never takes the place of a newer one.
    let newer = w.commit("2");
    let told = |commit: &str| {
        json!({ "branch": "main", "commitSha": commit, "paths": ["apps/agent/x"] }).to_string()
    };
    for (id, commit, reason) in [("newer", &newer, "build_requested"), ("older", &head, "outdated")] {
        let body = told(commit);
        let headers = w.signer.sign("standard", &w.secret, id, &body, 0).await;
        w.deliver(&headers, &body).await.expect(202);
        w.reason(id, reason).await;
    }
}

#[tokio::test]
async fn only_who_knows_the_secret_is_believed_and_both_are_while_it_rotates() {
    let mut w = world().await;
    let body = json!({ "branch": "none" }).to_string();
    let hooks = format!("/projects/{}/push-hooks", w.project.id);
    let hook = format!("{hooks}/{}", text(&w.hook["id"]));
    let good = w.signer.sign("standard", &w.secret, "a", &body, 0).await;
    assert_eq!(w.deliver(&good, "{\"branch\":\"other\"}").await.status, 401, "another body");
    for later in [-301, 310] {
        let stale = w.signer.sign("standard", &w.secret, "a", &body, later).await;
        assert_eq!(w.deliver(&stale, &body).await.status, 401, "{later} seconds");
    }
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for form in ["standard", "gitea"] {
        let headers = w.signer.sign(form, other, "a", &body, 0).await;
        assert_eq!(w.deliver(&headers, &body).await.expect(401)["code"], "bad_signature");
    }
    assert_eq!(w.deliver(&gitlab(other, "a"), &body).await.status, 401);
    assert_eq!(w.deliver(&[], &body).await.status, 401);
    w.deliver(&good, &body).await.expect(202);
    assert_eq!(w.deliver(&good, &body).await.expect(200), json!({ "id": "a", "outcome": "known" }));

    let rotated = w.owner.post(&format!("{hook}/rotate"), json!({})).await.expect(200);
    let new = text(&rotated["secret"]);
    assert!(new != w.secret && new.ends_with(&text(&rotated["hook"]["lastFour"])), "{rotated}");
    for (id, secret) in [("b", w.secret.clone()), ("c", new.clone())] {
        let headers = w.signer.sign("standard", &secret, id, &body, 0).await;
        w.deliver(&headers, &body).await.expect(202);
    }
    let at_once = json!({ "overlapSeconds": 0 });
    let last = text(&w.owner.post(&format!("{hook}/rotate"), at_once).await.expect(200)["secret"]);
    for (secret, status) in [(&w.secret, 401), (&new, 401), (&last, 202)] {
        let headers = w.signer.sign("standard", secret, "d", &body, 0).await;
        assert_eq!(w.deliver(&headers, &body).await.status, status);
    }
    assert!(!w.owner.get(&hooks).await.text.contains("whsec_"));
    assert_eq!(w.owner.get(&hooks).await.expect(200)["items"][0]["lastFour"], last[last.len() - 4..]);
    for secret in [&w.secret, &new, &last] {
        is_nowhere(&w.app, secret).await;
    }
    w.owner.delete(&hook).await.expect(200);
    let headers = w.signer.sign("standard", &last, "e", &body, 0).await;
    assert_eq!(w.deliver(&headers, &body).await.status, 404, "there is no such webhook any more");
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_the_host_is_not() {
    let w = world_on(TestApp::start_with(&[("MASTRA_ADMIN_RATE_ADDRESS", "5000")]).await).await;
    let send = async |secret: &str, id: &str| {
        w.deliver(&gitlab(secret, id), &json!({ "ref": "refs/tags/x", "after": "0" }).to_string()).await
    };
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(send("whsec_guess", "a").await.status);
    }
    assert_eq!(answers[..5], [401; 5]);
    assert_eq!(answers[7], 429);
    assert!(send("whsec_guess", "a").await.headers.contains_key("retry-after"));
    // Who asks for webhooks that there are not is one who guesses, too.
    assert_eq!(
        w.app.nobody().post(&format!("//api/webhooks/git/{}", uuid::Uuid::now_v7()), json!({})).await.status,
        429
    );
    for id in ["b", "c", "d"] {
        assert_eq!(send(&w.secret, id).await.status, 202, "what is proved is never counted");
    }
}

#[tokio::test]
async fn what_was_pushed_while_nobody_listened_is_found_at_the_start() {
    let mut w = world().await;
    w.app.kill().await;
    let commit = w.commit("missed");
    w.app.kill_and_restart().await;
    w.owner = w.app.owner().await;
    let path = format!("/projects/{}/builds", w.project.id);
    w.app
        .wait_until("the push is found", Duration::from_secs(60), async || {
            let builds = w.owner.get(&path).await.expect(200);
            builds["items"][0]["commitSha"] == commit
        })
        .await;
    let found = w.owner.get("/teams/acme/deliveries").await.expect(200)["items"][0].clone();
    assert_eq!((&found["source"], &found["action"]), (&json!("webhook"), &json!("found")), "{found}");
}
