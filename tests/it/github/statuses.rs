use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::world::project;

use super::{NAME, World, world};

/// What GitHub shows of a commit in the end, once that is this; all that was shown of it.
async fn shown(w: &World, commit: &str, state: &str) -> Vec<Value> {
    let mut all = vec![];
    w.app
        .wait_until(&format!("{commit} is a {state}"), Duration::from_secs(120), async || {
            let statuses = w.github.state().await["statuses"].as_array().unwrap().clone();
            all = statuses.into_iter().filter(|it| it["sha"] == commit).collect();
            all.last().is_some_and(|last| last["state"] == state)
        })
        .await;
    all
}

#[tokio::test]
async fn a_commit_shows_what_became_of_it_whatever_github_does_meanwhile() {
    let w = world().await;
    // GitHub is out of order for longer than one call tries.
    let fault = json!({ "path": "/statuses/", "status": 500, "times": 4 });
    w.github.tell("fault", fault).await;
    let (_, good) = w.push(json!({ "files": { "note.txt": "1" } })).await;
    let all = shown(&w, &good, "success").await;
    let last = all.last().unwrap();
    assert_eq!(
        (&last["context"], &last["description"]),
        (&json!("mastra-admin/agent/production"), &json!("Deployed"))
    );
    let build = last["target_url"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(w.owner.get(&format!("/builds/{build}")).await.expect(200)["commitSha"], json!(good));

    let (_, bad) =
        w.push(json!({ "files": { "behaviour.json": r#"{ "version": "1", "fail": "no" }"# } })).await;
    let all = shown(&w, &bad, "failure").await;
    assert_eq!(all.last().unwrap()["description"], "The build failed: build_failed");
    let minted = w.github.state().await["minted"].clone();
    let writing = |token: &&Value| token["permissions"].to_string().contains("statuses");
    let writing: Vec<_> = minted.as_array().unwrap().iter().filter(writing).collect();
    assert_eq!(writing.len(), 1, "{minted}");
    assert_eq!(
        (&writing[0]["permissions"]["statuses"], &writing[0]["repositories"]),
        (&json!("write"), &json!([NAME]))
    );
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn what_has_no_installation_is_shown_nowhere_and_what_may_not_be_shown_stops_nothing() {
    let w = world().await;
    let other = project(&w.owner, "acme", "other", &w.app.repository("tiny", "tiny"), json!({})).await;
    other.deployed(&w.app, &w.owner).await;
    w.github.tell("fault", json!({ "path": "/statuses/", "status": 403, "times": 100 })).await;
    let request =
        w.owner.request(Method::POST, &format!("/projects/{}/builds", w.project.id)).json(&json!({}));
    tests::client::Client::send(request).await.expect(202);
    w.app.settle().await;
    let dead: i64 =
        sqlx::query_scalar("SELECT count(*) FROM work WHERE process = 'show_on_commit' AND state <> 'done'")
            .fetch_one(w.app.db.pool())
            .await
            .unwrap();
    assert_eq!(dead, 0);
    assert_eq!(w.github.state().await["statuses"], json!([]));
}
