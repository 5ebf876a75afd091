//! What GitHub shows of environments: deployments, and a comment below a pull request.

use std::time::Duration;

use serde_json::{Value, json};

use super::previews::{version, with_previews};
use super::{NAME, World, world};

impl World {
    /// The one comment of the platform below pull request 12, once it says this.
    async fn said(&self, words: &str) -> Value {
        let mut said = Value::Null;
        self.app
            .wait_until(&format!("the comment says {words}"), Duration::from_secs(90), async || {
                let comments = self.github.state().await["comments"].as_array().unwrap().clone();
                let ours: Vec<_> = comments.into_iter().filter(|it| it["app"] == true).collect();
                assert!(ours.len() <= 1, "there is one comment: {ours:?}");
                said = ours.first().cloned().unwrap_or_default();
                said["body"].as_str().is_some_and(|body| body.contains(words))
            })
            .await;
        said
    }

    /// The deployments that GitHub has of an environment, each with what was said of it last, once this holds.
    async fn deployed(&self, environment: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut all = vec![];
        self.app
            .wait_until("GitHub shows the deployments", Duration::from_secs(90), async || {
                let deployments = self.github.state().await["deployments"].as_array().unwrap().clone();
                all = deployments.into_iter().filter(|it| it["environment"] == environment).collect();
                holds(&all)
            })
            .await;
        all
    }
}

fn last(deployment: &Value) -> &Value {
    deployment["statuses"].as_array().unwrap().last().unwrap_or(&Value::Null)
}

fn states(all: &[Value]) -> Vec<&str> {
    all.iter().map(|it| last(it)["state"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_pull_request_has_one_comment_that_says_how_far_its_preview_is() {
    let w = with_previews(json!({ "forks": "on_approval" })).await;
    // Anybody may write what looks like it, before there is one: it is left alone.
    let mark = format!("<!-- mastra-admin: the preview of project {} -->", w.project.id);
    w.github.tell("pull", json!({ "full_name": NAME, "number": 12, "files": version("1") })).await;
    w.github.tell("comment", json!({ "full_name": NAME, "number": 12, "body": mark })).await;

    let first = w.pull("opened", "opened", json!({ "files": version("2") })).await;
    let said = w.said("| Deployed |").await;
    let body = said["body"].as_str().unwrap();
    let url = w.preview().await.unwrap()["url"].as_str().unwrap().to_owned();
    for part in [&mark, &first, &url, "Preview of `agent`", "/api/v1/builds/"] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    let shown = w.deployed("agent/pr-12", |all| states(all) == ["success"]).await;
    assert_eq!((&shown[0]["sha"], &last(&shown[0])["environment_url"]), (&json!(first), &json!(url)));
    assert_eq!(
        (&shown[0]["transient_environment"], &shown[0]["production_environment"]),
        (&json!(true), &json!(false))
    );

    let bad = json!({ "behaviour.json": json!({ "version": "3", "fail": "no" }).to_string() });
    w.pull("bad", "synchronize", json!({ "files": bad })).await;
    let said = w.said("**The build failed: build_failed**").await;
    assert!(said["body"].as_str().unwrap().contains(&url), "what was there before still serves");
    w.deployed("agent/pr-12", |all| states(all) == ["success", "failure"]).await;

    w.pull("closed", "closed", json!({ "state": "closed" })).await;
    w.said("| Removed |").await;
    w.deployed("agent/pr-12", |all| states(all) == ["inactive", "inactive"]).await;

    // Opened again it is the same comment, and another environment.
    w.pull("reopened", "reopened", json!({ "files": version("4") })).await;
    w.said("| Deployed |").await;
    let theirs = w.github.state().await["comments"].as_array().unwrap().clone();
    let theirs: Vec<_> = theirs.iter().filter(|it| it["app"] == false).collect();
    assert_eq!((theirs.len(), &theirs[0]["body"]), (1, &json!(mark)));

    let fork = json!({ "number": 13, "fork": true, "files": version("5") });
    w.pull("fork", "opened", fork).await;
    w.reason("fork", "waits_for_approval").await;
    w.app
        .wait_until("the fork's comment says that it waits", Duration::from_secs(60), async || {
            let state = w.github.state().await;
            let of = |it: &&Value| it["number"] == 13 && it["body"].as_str().unwrap().contains("approves");
            state["comments"].as_array().unwrap().iter().find(of).is_some()
        })
        .await;
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn what_is_made_at_github_is_made_once_although_answers_are_lost_and_the_server_is_killed() {
    let mut w = with_previews(json!({})).await;
    // They are made, and nobody is told.
    for path in ["/issues/12/comments$", "/deployments$"] {
        w.github.tell("fault", json!({ "path": path, "method": "POST", "lose": true })).await;
    }
    w.pull("opened", "opened", json!({ "files": version("2") })).await;
    let made = async |w: &World| {
        let state = w.github.state().await;
        let count = |of: &str| state[of].as_array().unwrap().len();
        (count("comments"), count("deployments"))
    };
    w.app.wait_until("one of them is made", Duration::from_secs(60), async || made(&w).await != (0, 0)).await;
    w.app.kill_and_restart().await;
    w.owner = w.app.owner().await;
    w.github.listens(&w.app).await;
    w.said("| Deployed |").await;
    w.deployed("agent/pr-12", |all| states(all) == ["success"]).await;
    w.app.settle().await;
    assert_eq!(made(&w).await, (1, 1));
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn every_environment_is_shown_as_deployments_and_what_serves_no_more_is_inactive() {
    let w = world().await;
    let (_, first) = w.push(json!({ "files": version("2") })).await;
    let shown = w.deployed("agent/production", |all| states(all) == ["success"]).await;
    let url = last(&shown[0])["environment_url"].as_str().unwrap();
    assert!(url.ends_with("/p/acme/agent"), "{url}");
    assert_eq!((&shown[0]["sha"], &shown[0]["production_environment"]), (&json!(first), &json!(true)));
    w.push(json!({ "files": version("3") })).await;
    w.deployed("agent/production", |all| states(all) == ["inactive", "success"]).await;
    w.owner.delete(&format!("/projects/{}", w.project.id)).await.expect(200);
    w.deployed("agent/production", |all| states(all) == ["inactive", "inactive"]).await;
    w.github.had_no_violations().await;
}

#[tokio::test]
async fn without_the_right_to_show_it_what_is_pushed_runs_all_the_same() {
    let w = with_previews(json!({})).await;
    let less = json!({ "contents": "read", "metadata": "read", "pull_requests": "read" });
    w.github.tell("installation", json!({ "id": tests::github::INSTALLATION, "permissions": less })).await;
    w.pull("opened", "opened", json!({ "files": version("2") })).await;
    w.serves("2").await;
    w.app.settle().await;
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM work WHERE process IN ('show_environment', 'show_on_commit') AND state <> 'done'",
    )
    .fetch_one(w.app.db.pool())
    .await
    .unwrap();
    assert_eq!(left, 0, "it is not tried for ever");
    let state = w.github.state().await;
    assert_eq!((&state["comments"], &state["deployments"]), (&json!([]), &json!([])));
    assert!(w.app.log().contains("the git host does not show what is deployed"));
    w.github.had_no_violations().await;
}
