use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::client::Client;
use tests::world::project;

use super::{NAME, world};

#[tokio::test]
async fn a_push_ends_as_a_running_deployment_and_the_chain_leads_back_to_it() {
    let w = world().await;
    let (guid, commit) = w.push(json!({ "files": { "note.txt": "1" } })).await;
    let outcome = w.reason(&guid, "build_requested").await;
    let build = outcome["buildId"].as_str().unwrap();
    let chain = w.project.why_it_runs(&w.app, &w.owner, build).await;
    w.project.ask(&w.owner, "/health").await.expect(200);

    let shown = w.owner.get(&format!("/builds/{build}")).await.expect(200);
    let delivery = w.settled(&guid).await["id"].clone();
    assert_eq!((&shown["commitSha"], &shown["branch"]), (&json!(commit), &json!("main")));
    assert_eq!(shown["trigger"], json!({ "source": "github", "deliveryId": delivery }));
    assert!(shown["createdBy"].as_str().unwrap().starts_with("github:"), "{shown}");
    assert_eq!(chain["root"], format!("request:{}", delivery.as_str().unwrap()));
    let first = &chain["items"][0];
    assert!(first.to_string().contains("build.requested") && first["parentId"].is_null(), "{first}");

    // The token was for this repository, for reading, and is nowhere.
    let state = w.github.state().await;
    let minted = state["minted"].as_array().unwrap();
    assert!(minted.iter().any(|token| token["repositories"] == json!([NAME])), "{minted:?}");
    let reading = json!({ "contents": "read", "metadata": "read" });
    let (showing, deploying) = (json!({ "statuses": "write" }), json!({ "deployments": "write" }));
    let known = [&reading, &showing, &deploying];
    assert!(minted.iter().all(|token| known.contains(&&token["permissions"])), "{minted:?}");
    assert!(minted.len() <= 4, "each is asked for once: {minted:?}");
    let logs = w.owner.get(&format!("/builds/{build}/logs")).await.text;
    let events: Vec<String> =
        sqlx::query_scalar("SELECT payload::text FROM events").fetch_all(w.app.db.pool()).await.unwrap();
    for place in [w.app.log(), logs, events.join("\n")] {
        assert!(!place.contains("ghs_"), "a token is in {place}");
    }
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn what_nobody_follows_is_not_built_and_says_why() {
    let w = world().await;
    let sha = "a".repeat(40);
    let all = |reference: &str| json!({ "ref": reference, "after": sha, "deleted": false, "commits": [] });
    for (guid, fields, reason) in [
        ("tag", all("refs/tags/v1"), "tag"),
        ("notes", all("refs/notes/x"), "not_a_branch"),
        (
            "gone",
            json!({ "ref": "refs/heads/main", "after": "0".repeat(40), "deleted": true }),
            "branch_deleted",
        ),
        ("other", all("refs/heads/feature/#1"), "branch_not_followed"),
        ("japan", all("refs/heads/日本"), "branch_not_followed"),
        ("moved-on", all("refs/heads/main"), "outdated"),
        ("hostile", all("refs/heads/--upload-pack=x y"), "unreadable"),
        ("no-sha", json!({ "ref": "refs/heads/main", "after": "$(id)" }), "unreadable"),
    ] {
        let settled = w.told(guid, fields).await;
        assert_eq!(settled["outcomes"][0]["reason"], reason, "{settled}");
        assert_eq!(settled["status"], "nothing");
    }
    let skipped = json!({ "message": "docs [skip ci]", "files": { "a": "1" } });
    let (guid, _) = w.push(skipped).await;
    w.reason(&guid, "skip_ci").await;
    let foreign =
        w.told("foreign", json!({ "ref": "refs/heads/main", "after": sha, "repository": { "id": 1 } })).await;
    assert_eq!(foreign["outcomes"][0]["reason"], "repository_not_connected");
    let of_another =
        json!({ "ref": "refs/heads/main", "after": sha, "installation": { "id": 9 }, "deleted": false });
    assert_eq!(w.told("of-another", of_another).await["outcomes"][0]["reason"], "installation_inactive");
    let builds = w.owner.get(&format!("/projects/{}/builds", w.project.id)).await.expect(200);
    assert_eq!(builds["items"], json!([]));
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn each_project_and_environment_follows_its_branch_pattern_and_paths() {
    let w = world().await;
    let more = json!({ "installationId": w.installation, "watchPaths": ["apps/b/**", "!**/*.md"] });
    let second = project(&w.owner, "acme", "second", &w.github.repo_url(NAME), more).await;
    let body = json!({ "name": "Releases", "type": "staging", "branch": "none" });
    let staging = w.owner.post(&format!("/projects/{}/environments", w.project.id), body).await.expect(201);
    let staging = format!("/environments/{}", staging["id"].as_str().unwrap());
    for hostile in ["--upload-pack=*", "a b/*", "../*", "*\n"] {
        let refused = w.owner.patch(&staging, json!({ "branchPattern": hostile })).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("branchPattern")));
    }
    w.owner.patch(&staging, json!({ "branchPattern": "release/*" })).await.expect(200);

    let commits =
        |paths: Value| json!({ "commits": [{ "added": null, "modified": paths, "removed": null }] });
    let touched = |paths: Value| json!({ "files": { "x": paths.to_string() }, "overrides": commits(paths) });
    let reasons = async |guid: &str| {
        let settled = w.settled(guid).await;
        let of = |project: &str| {
            let outcomes = settled["outcomes"].as_array().unwrap().iter();
            let mut found = outcomes.filter(|it| it["projectId"] == project);
            found.next().map_or("none".to_owned(), |it| it["reason"].as_str().unwrap().to_owned())
        };
        (of(&w.project.id), of(&second.id))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let (guid, _) = w.push(touched(json!(["apps/a/x.ts", "apps/b/README.md"]))).await;
    assert_eq!(reasons(&guid).await, pair("build_requested", "paths_unchanged"));
    let (guid, _) = w.push(touched(json!(["apps/b/x.ts"]))).await;
    assert_eq!(reasons(&guid).await, pair("build_requested", "build_requested"));
    let (guid, _) = w.push(json!({ "branch": "release/1", "files": { "y": "1" } })).await;
    assert_eq!(reasons(&guid).await, pair("build_requested", "branch_not_followed"));
    let settled = w.settled(&guid).await;
    assert!(staging.ends_with(settled["outcomes"][0]["environmentId"].as_str().unwrap()), "{settled}");
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn an_older_commit_never_takes_the_place_of_a_newer_one_and_the_same_is_built_once() {
    let w = world().await;
    let silent = |n: &str| json!({ "full_name": NAME, "files": { "n": n }, "deliver": false });
    let older = w.github.tell("push", silent("1")).await["after"].clone();
    let newer = w.github.tell("push", silent("2")).await["after"].clone();
    let push =
        |after: &Value| json!({ "ref": "refs/heads/main", "after": after, "deleted": false, "commits": [] });
    assert_eq!(w.told("newer", push(&newer)).await["outcomes"][0]["reason"], "build_requested");
    assert_eq!(w.told("older", push(&older)).await["outcomes"][0]["reason"], "outdated");
    let again = w.told("newer-again", push(&newer)).await;
    assert_eq!(again["outcomes"][0]["reason"], "already_built");
    let builds = w.owner.get(&format!("/projects/{}/builds", w.project.id)).await.expect(200);
    assert_eq!(builds["items"].as_array().unwrap().len(), 1);
    assert_eq!(builds["items"][0]["commitSha"], newer);
}

#[tokio::test]
async fn what_is_overtaken_by_a_push_that_nobody_wants_is_built_with_it() {
    let w = world().await;
    let silent = |n: &str| json!({ "full_name": NAME, "files": { "n": n }, "deliver": false });
    let wanted = w.github.tell("push", silent("1")).await["after"].clone();
    let head = w.github.tell("push", silent("2")).await["after"].clone();
    let push = |after: &Value, message: &str| {
        json!({ "ref": "refs/heads/main", "after": after, "deleted": false, "commits": [],
                "head_commit": { "message": message } })
    };
    let first = w.told("wanted", push(&wanted, "a change")).await;
    assert_eq!(first["outcomes"][0]["reason"], "build_requested", "{first}");
    let second = w.told("unwanted", push(&head, "docs [skip ci]")).await;
    assert_eq!(second["outcomes"][0]["reason"], "skip_ci", "{second}");
    let builds = w.owner.get(&format!("/projects/{}/builds", w.project.id)).await.expect(200);
    assert_eq!(builds["items"].as_array().unwrap().len(), 1);
    assert_eq!(builds["items"][0]["commitSha"], head, "never of what the branch was at");
}

#[tokio::test]
async fn what_was_built_without_being_deployed_is_built_again_by_its_push() {
    let w = world().await;
    let silent = json!({ "full_name": NAME, "files": { "n": "1" }, "deliver": false });
    let commit = w.github.tell("push", silent).await["after"].clone();
    let body = json!({ "environment": w.project.production, "commitSha": commit, "deploy": false });
    w.owner.post(&format!("/projects/{}/builds", w.project.id), body).await.expect(202);
    let push = json!({ "ref": "refs/heads/main", "after": commit, "deleted": false, "commits": [] });
    let told = w.told("pushed", push).await;
    assert_eq!(told["outcomes"][0]["reason"], "build_requested", "{told}");
}

#[tokio::test]
async fn what_was_pushed_while_nobody_listened_is_found_at_the_start() {
    let mut w = world().await;
    w.app.kill().await;
    let missed = json!({ "full_name": NAME, "files": { "n": "1" }, "deliver": false });
    let commit = w.github.tell("push", missed).await["after"].clone();
    w.app.kill_and_restart().await;
    w.owner = w.app.owner().await;
    let mut builds = Value::Null;
    w.app
        .wait_until("the push is found", Duration::from_secs(60), async || {
            let path = format!("/projects/{}/builds", w.project.id);
            builds = Client::send(w.owner.request(Method::GET, &path)).await.expect(200);
            builds["items"][0]["commitSha"] == commit
        })
        .await;
    let found = w.settled("found/").await;
    assert_eq!(
        (&found["outcomes"][0]["reason"], &found["action"]),
        (&json!("build_requested"), &json!("found"))
    );
    w.github.had_no_violations().await;
}
