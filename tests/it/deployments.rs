//! Builds and deployments through the API, with a project that builds in a second.

use std::time::Duration;

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::repository;
use tests::world::{Project, team_and_project};

#[tokio::test]
async fn a_requested_build_ends_up_serving() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    assert_eq!(deployment["status"], "running", "{deployment}");
    let answer = project.ask(&owner, "/api/version").await;
    assert_eq!((answer.status, answer.body), (200, json!({ "version": "1" })));
    let seen = project.ask(&owner, "/api/headers?a=%20b").await.expect(200);
    assert_eq!(seen["url"], "/api/headers?a=%20b");
    assert_eq!(seen["headers"]["x-forwarded-prefix"], "/p/acme/agent");
    let health = owner.get(&format!("/deployments/{}/health", deployment["id"].as_str().unwrap())).await;
    assert_eq!(health.status, 200, "{}", health.text);
}

#[tokio::test]
async fn a_server_is_reached_under_every_slug_that_its_team_had() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    project.deployed(&app, &owner).await;
    for (from, to) in [("acme", "bolt"), ("bolt", "core")] {
        owner.patch(&format!("/teams/{from}"), json!({ "slug": to })).await.expect(200);
    }
    let ask = async |team: &str| owner.get(&format!("//p/{team}/agent/api/headers")).await;
    app.wait_until("the router knows the new name", Duration::from_secs(10), async || {
        ask("core").await.status == 200
    })
    .await;
    for team in ["acme", "bolt", "core"] {
        let seen = ask(team).await.expect(200);
        assert_eq!(
            seen["headers"]["x-forwarded-prefix"],
            format!("/p/{team}/agent"),
            "links stay as they were asked for"
        );
    }
    owner.delete("/teams/core").await.expect(200);
    app.wait_until("nothing of the team is reached", Duration::from_secs(10), async || {
        ask("core").await.status != 200
    })
    .await;
    assert_ne!(ask("acme").await.status, 200, "nor under a name of before");
}

#[tokio::test]
async fn a_new_deployment_takes_over_and_a_rollback_goes_back() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let first = project.deployed(&app, &owner).await;
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", r#"{ "version": "2" }"#)]);
    project.deployed(&app, &owner).await;
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "2");
    let first_path = format!("/deployments/{}", first["id"].as_str().unwrap());
    app.until_status(&owner, &first_path, &["superseded"]).await;

    let back = owner
        .post(
            &format!("/environments/{}/rollback", project.production),
            json!({ "deploymentId": first["id"] }),
        )
        .await;
    assert_eq!(back.status, 202, "{}", back.text);
    let id = back.str("id");
    app.until_status(&owner, &format!("/deployments/{id}"), &["running"]).await;
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1");
}

#[tokio::test]
async fn a_failing_build_leaves_what_was_served() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    project.deployed(&app, &owner).await;
    let path = app.repositories().join("tiny");
    let commit =
        repository::change(&path, &[("behaviour.json", r#"{ "version": "2", "fail": "no such thing" }"#)]);
    let build = project.built(&app, &owner).await;
    assert_eq!(build["status"], "failed", "{build}");
    assert_eq!(build["commitSha"], commit);
    assert_eq!(build["failure"]["code"], "build_failed");
    assert_eq!(build["failure"]["phase"], "building");
    assert_eq!(build["failure"]["exitCode"], 1);
    assert!(build["failure"]["message"].as_str().unwrap().contains("no such thing"), "{build}");
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1");
}

#[tokio::test]
async fn a_server_that_ends_soon_after_it_was_ready_gives_way_to_the_one_before() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let first = project.deployed(&app, &owner).await;
    let path = app.repositories().join("tiny");
    repository::change(&path, &[("behaviour.json", r#"{ "version": "2", "crashAfter": 1000 }"#)]);
    let build = project.built(&app, &owner).await;
    let id = project.deployment_of(&app, &owner, build["id"].as_str().unwrap()).await;
    let back = app.until_status(&owner, &format!("/deployments/{id}"), &["rolled_back"]).await;
    assert_eq!(back["failure"]["code"], "crashed_after_start", "{back}");
    assert_eq!(back["rolledBackTo"], first["id"], "{back}");
    assert!(back["probationEndsAt"].as_str() > back["activatedAt"].as_str(), "{back}");
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1");
    let list = owner.get(&format!("/environments/{}/deployments", project.production)).await.expect(200);
    let shown: Vec<_> = list["items"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(shown, ["rolled_back", "running"]);
    let trail = owner.get("/teams/acme/audit?action=deployment.rolled_back").await.expect(200);
    let after = &trail["items"][0]["after"];
    assert_eq!((&after["to"], &after["code"]), (&first["id"], &json!("crashed_after_start")), "{trail}");
    // What never worked is nothing to go back to, and what serves is not either.
    let nothing = owner.post(&format!("/environments/{}/rollback", project.production), json!({})).await;
    assert_eq!((nothing.status, nothing.str("code").as_str()), (409, "nothing_to_roll_back_to"));
}

#[tokio::test]
async fn a_crash_loop_after_the_switch_leads_back_to_what_worked_as_it_was_then() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let set = async |value: &str| {
        let at = format!("/projects/{}/env-vars/GREETING", project.id);
        owner.put(&at, json!({ "value": value, "sensitive": false })).await.expect(200);
    };
    set("then").await;
    let first = project.deployed(&app, &owner).await;
    set("now").await;
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", r#"{ "version": "2" }"#)]);
    let second = project.deployed(&app, &owner).await;
    let at = |deployment: &serde_json::Value| format!("/deployments/{}", deployment["id"].as_str().unwrap());
    app.until_status(&owner, &at(&first), &["superseded"]).await;

    // As if its server had crashed five times in a row, which takes a minute.
    sqlx::query(
        r#"INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                               team_id)
           SELECT aggregate_type, aggregate_id, sequence + 1, 'deployment.failed', '1',
                  '{"type":"deployment.failed","code":"crash_loop","message":"it crashed","exit_code":1}', metadata,
                  team_id
             FROM events WHERE aggregate_id = $1 ORDER BY sequence DESC LIMIT 1"#,
    )
    .bind(second["id"].as_str().unwrap())
    .execute(app.db.pool())
    .await
    .unwrap();
    let back = app.until_status(&owner, &at(&second), &["rolled_back"]).await;
    assert_eq!(back["failure"]["code"], "crash_loop", "{back}");
    let again = format!("/deployments/{}", back["rolledBackTo"].as_str().unwrap());
    let again = app.until_status(&owner, &again, &["running"]).await;
    assert_eq!((&again["type"], &again["buildId"]), (&json!("rollback"), &first["buildId"]), "{again}");
    assert_eq!(again["envVars"], first["envVars"], "as then");
    assert_eq!(again["createdBy"], "process:return_to_good");
    app.wait_until("it serves again", Duration::from_secs(10), async || {
        project.ask(&owner, "/api/version").await.body["version"] == "1"
    })
    .await;
    // Done twice, as after a crash, it is done once.
    sqlx::query("UPDATE work SET state = 'ready', run_at = now() WHERE process = 'return_to_good'")
        .execute(app.db.pool())
        .await
        .unwrap();
    app.settle().await;
    let list = owner.get(&format!("/environments/{}/deployments", project.production)).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list}");
    assert_eq!(owner.get(&at(&second)).await.expect(200), back);
}

#[tokio::test]
async fn a_server_that_never_answers_or_ends_at_once_fails_with_words() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_START_DEADLINE", "3")]).await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    project.deployed(&app, &owner).await;
    let path = app.repositories().join("tiny");
    for (behaviour, code) in [("silent", "never_ready"), ("exitAtLoad", "exited_before_ready")] {
        repository::change(
            &path,
            &[("behaviour.json", &format!(r#"{{ "version": "2", "{behaviour}": true }}"#))],
        );
        let failed = project.deployed(&app, &owner).await;
        assert_eq!(failed["status"], "failed", "{failed}");
        assert_eq!(failed["failure"]["code"], code, "{failed}");
        assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1");
    }
}

/// Deploys; beyond the probation of five seconds, an end is a crash.
async fn past_probation(app: &TestApp, owner: &Client, project: &Project) -> Value {
    let deployment = project.deployed(app, owner).await;
    let active: chrono::DateTime<chrono::Utc> = deployment["activatedAt"].as_str().unwrap().parse().unwrap();
    app.wait_until("its probation is over", Duration::from_secs(30), async || {
        chrono::Utc::now() - active > chrono::TimeDelta::seconds(6)
    })
    .await;
    deployment
}

#[tokio::test]
async fn a_crashed_server_is_started_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = past_probation(&app, &owner, &project).await;
    project.ask(&owner, "/api/exit?code=3").await;
    let path = format!("/deployments/{}", deployment["id"].as_str().unwrap());
    app.wait_until("it serves again", Duration::from_secs(60), async || {
        owner.get(&path).await.body["status"] == "running"
            && project.ask(&owner, "/api/version").await.status == 200
            && owner.get(&path).await.body["crashes"] == 1
    })
    .await;
}

/// Its pauses take half a minute.
#[tokio::test]
async fn a_server_that_ends_five_times_in_a_row_is_started_no_more() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = past_probation(&app, &owner, &project).await;
    let path = format!("/deployments/{}", deployment["id"].as_str().unwrap());
    for crashes in 1..5 {
        app.wait_until("it serves", Duration::from_secs(60), async || {
            owner.get(&path).await.body["status"] == "running"
                && project.ask(&owner, "/api/version").await.status == 200
        })
        .await;
        let ended = std::time::Instant::now();
        project.ask(&owner, "/api/exit?code=3").await;
        app.wait_until("it is started again", Duration::from_secs(60), async || {
            let now = owner.get(&path).await.body;
            now["status"] == "running" && now["crashes"] == crashes
        })
        .await;
        let pause = Duration::from_secs(1 << crashes);
        assert!(
            ended.elapsed() >= pause,
            "after crash {crashes} it was started within {:?}",
            ended.elapsed()
        );
    }
    project.ask(&owner, "/api/exit?code=3").await;
    app.wait_until("it is given up", Duration::from_secs(60), async || {
        owner.get(&path).await.body["status"] == "failed"
    })
    .await;
    let failure = owner.get(&path).await.body["failure"].clone();
    assert_eq!((&failure["code"], &failure["exitCode"]), (&json!("crash_loop"), &json!(3)), "{failure}");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("5 times in a row") && message.contains("exited with code 3"), "{failure}");
}

#[tokio::test]
async fn a_running_build_is_cancelled_in_time_and_never_deployed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let path = app.repositories().join("tiny");
    repository::change(&path, &[("behaviour.json", r#"{ "version": "2", "sleep": 600000 }"#)]);
    let build = project.build(&owner).await;
    let at = format!("/builds/{build}");
    app.wait_until("the build command runs", Duration::from_secs(60), async || {
        owner.get(&at).await.body["phase"] == "building"
    })
    .await;
    let asked = std::time::Instant::now();
    let answer = owner.post(&format!("{at}/cancel"), json!({})).await;
    assert!(answer.status == 200 || answer.status == 202, "{}", answer.text);
    app.until_status(&owner, &at, &["cancelled"]).await;
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
    app.settle().await;
    let list = owner.get(&format!("/environments/{}/deployments", project.production)).await.expect(200);
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn the_platform_killed_in_the_middle_comes_back_with_everything() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    project.deployed(&app, &owner).await;
    let path = app.repositories().join("tiny");
    repository::change(&path, &[("behaviour.json", r#"{ "version": "2", "sleep": 3000 }"#)]);
    let build = project.build(&owner).await;
    let at = format!("/builds/{build}");
    app.wait_until("the build command runs", Duration::from_secs(60), async || {
        owner.get(&at).await.body["phase"] == "building"
    })
    .await;
    app.kill_and_restart().await;
    let owner = app.owner().await;
    app.wait_until("the old server serves again", Duration::from_secs(60), async || {
        project.ask(&owner, "/api/version").await.status == 200
    })
    .await;
    let build = app.until_status(&owner, &at, &["ready", "failed"]).await;
    assert_eq!(build["status"], "ready", "{build}");
    let id = project.deployment_of(&app, &owner, build["id"].as_str().unwrap()).await;
    app.until_status(&owner, &format!("/deployments/{id}"), &["running"]).await;
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "2");
}

#[tokio::test]
async fn a_stopped_deployment_serves_no_more_and_a_restart_serves_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    let at = format!("/deployments/{}", deployment["id"].as_str().unwrap());
    assert_eq!(owner.post(&format!("{at}/stop"), json!({})).await.body["status"], "stopped");
    app.wait_until("nothing answers", Duration::from_secs(30), async || {
        project.ask(&owner, "/api/version").await.status >= 400
    })
    .await;
    let again = owner.post(&format!("{at}/restart"), json!({})).await;
    assert_eq!(again.status, 202, "{}", again.text);
    app.until_status(&owner, &format!("/deployments/{}", again.str("id")), &["running"]).await;
    assert_eq!(project.ask(&owner, "/api/version").await.status, 200);
}

#[tokio::test]
async fn a_deleted_project_leaves_nothing_running() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    assert_eq!(owner.delete(&format!("/projects/{}", project.id)).await.status, 200);
    app.wait_until("nothing answers", Duration::from_secs(30), async || {
        project.ask(&owner, "/api/version").await.status == 404
    })
    .await;
    assert_eq!(owner.get(&format!("/projects/{}", project.id)).await.status, 404);
    let id: uuid::Uuid = deployment["id"].as_str().unwrap().parse().unwrap();
    app.wait_until("the server is gone", Duration::from_secs(40), async || {
        let work: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM work WHERE process = 'retire_deployment' AND key = $1 AND state = 'done'",
        )
        .bind(id.to_string())
        .fetch_one(app.db.pool())
        .await
        .unwrap();
        work == 1
    })
    .await;
}

#[tokio::test]
async fn a_project_says_when_its_servers_are_healthy() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_START_DEADLINE", "30")]).await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let at = format!("/projects/{}", project.id);
    for (field, health) in [
        ("health.path", json!({ "path": "ready" })),
        ("health.timeoutMs", json!({ "timeoutMs": 1 })),
        ("health.retries", json!({ "retries": 5000 })),
    ] {
        let refused = owner.patch(&at, json!({ "health": health })).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["field"]),
            (422, &json!(field)),
            "{}",
            refused.text
        );
    }
    let own = json!({ "path": "/api/version", "timeoutMs": 1000, "intervalMs": 100, "retries": 3 });
    let shown = owner.patch(&at, json!({ "health": own })).await.expect(200);
    assert_eq!(shown["health"], own);
    assert_eq!(project.deployed(&app, &owner).await["status"], "running");

    // A redirect is no good answer, whatever stands behind it; and it is not waited for longer than was said.
    owner.patch(&at, json!({ "health": { "path": "/api/moved", "retries": 2 } })).await.expect(200);
    let asked = std::time::Instant::now();
    let failed = project.deployed(&app, &owner).await;
    assert_eq!((&failed["status"], &failed["failure"]["code"]), (&json!("failed"), &json!("never_ready")));
    assert!(failed["failure"]["message"].as_str().unwrap().contains("/api/moved answered 302"), "{failed}");
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1");
    owner.patch(&at, json!({ "health": null })).await.expect(200);
    assert_eq!(project.deployed(&app, &owner).await["status"], "running");
}
