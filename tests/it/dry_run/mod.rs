//! `?dryRun=true`: every command says what it would do, and does nothing.

pub(crate) mod cases;

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tests::app::{PASSWORD, TestApp};
use tests::client::Client;
use tests::people::join;
use tests::world::{team, team_and_project};

use cases::{Case, cases, of_team, with_body};

/// Everything that a command could leave behind, outside the tables that are made of the log.
async fn traces(app: &TestApp) -> Vec<(String, i64, String)> {
    let mut all = Vec::new();
    for table in [
        "events",
        "claims",
        "idempotency_keys",
        "data_keys",
        "credentials",
        "second_factors",
        "sessions",
        "setup_tokens",
        "answers",
        "work",
        "log_lines",
        "uploads",
        "endpoint_deliveries",
    ] {
        // When somebody was last seen is not the command's doing.
        let query = format!(
            "SELECT count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '')
               FROM (SELECT to_jsonb(o) - 'last_seen_at' AS t FROM {table} o) x"
        );
        let (rows, hash) = sqlx::query_as(&query).fetch_one(app.db.pool()).await.unwrap();
        all.push((table.to_owned(), rows, hash));
    }
    let mails = std::fs::read_dir(app.dir.path().join("mail")).map_or(0, |mails| mails.count());
    all.push(("mails".to_owned(), i64::try_from(mails).unwrap(), String::new()));
    all
}

#[tokio::test]
async fn every_command_says_what_it_would_do_and_does_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let first = project.deployed(&app, &owner).await;
    project.deployed(&app, &owner).await;
    app.settle().await;
    let cases = cases(&app, &owner, &project, &first).await;
    app.wait_until("the last deployment has taken over", Duration::from_secs(60), async || {
        let open = "SELECT NOT EXISTS (SELECT FROM work WHERE state IN ('ready', 'running')
                                          AND process IN ('supersede_deployment', 'retire_deployment'))";
        sqlx::query_scalar(open).fetch_one(app.db.pool()).await.unwrap()
    })
    .await;
    app.settle().await;

    let document = app.nobody().get("//openapi.json").await.expect(200);
    let mut commands = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|method| *method != "get") {
            commands.insert(format!("{} {}", method.to_uppercase(), path.trim_start_matches("/api/v1")));
        }
    }
    // Questions, not commands; what a provider tells, which nobody else can; and a command that an installation can
    // take once, which has a test of its own; and telemetry, which is no command.
    for apart in [
        "POST /permissions/check",
        "POST /projects/{project}/repository/host-keys/scan",
        "POST /api/webhooks/{provider}",
        "POST /api/webhooks/github",
        "POST /api/webhooks/git/{hook}",
        "POST /auth/setup",
        "POST /v1/traces",
        "POST /v1/logs",
        "POST /projects/{project}/ai/spans/publish",
        "POST /projects/{project}/ai/logs/publish",
        "POST /v1/metrics",
        "POST /projects/{project}/ai/metrics/publish",
        "POST /projects/{project}/ai/scores/publish",
        "POST /projects/{project}/ai/feedback/publish",
        "POST /projects/{project}/scores",
    ] {
        assert!(commands.remove(apart), "{apart} is still there");
    }
    let tried =
        cases.iter().map(|case| format!("{} {}", case.method, case.route.replacen("//", "/", 1))).collect();
    assert_eq!(commands, tried, "every command has a case");

    let before = traces(&app).await;
    for case in cases {
        let body = case.body_now();
        let Case { method, path, client, events, .. } = case;
        let sign = if path.contains('?') { '&' } else { '?' };
        let request = client.request(method.clone(), &format!("{path}{sign}dryRun=true"));
        let request = of_team(request, &path, "acme");
        // A key is not used up either.
        let answer = Client::send(with_body(request.header("idempotency-key", "dry"), &body)).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        let shown: Vec<_> =
            answer.body["events"].as_array().unwrap().iter().map(|e| e["type"].clone()).collect();
        assert_eq!(shown, events, "{method} {path}");
        assert!(
            answer.headers.get("set-cookie").is_none() && answer.body.get("token").is_none(),
            "{}",
            answer.text
        );
        assert!(!answer.text.contains("\"data\""), "sealed values by their marks: {}", answer.text);
        app.settle().await;
        assert_eq!(traces(&app).await, before, "{method} {path} left a trace");
    }
}

#[tokio::test]
async fn the_setup_can_be_rehearsed_and_its_token_is_not_used_up() {
    let app =
        TestApp::start_with(&[("MASTRA_ADMIN_OWNER_EMAIL", ""), ("MASTRA_ADMIN_OWNER_PASSWORD", "")]).await;
    let said = app.said();
    let token = said.split("\"setupToken\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let body = json!({
        "setupToken": token, "email": "first@example.org", "password": PASSWORD, "firstName": "First", "lastName": "",
    });
    let before = traces(&app).await;
    let dry = app.nobody().post("/auth/setup?dryRun=true", body.clone()).await.expect(200);
    let types: Vec<_> = dry["events"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["user.registered", "user.signed_in"]);
    assert_eq!(traces(&app).await, before);
    app.nobody().post("/auth/setup", body).await.expect(201);
}

#[tokio::test]
async fn a_dry_run_refuses_what_would_be_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let before = traces(&app).await;
    let taken = owner.post("/teams?dryRun=true", json!({ "name": "B", "slug": "acme" })).await;
    assert_eq!((taken.status, taken.str("code").as_str()), (409, "slug_taken"));
    let denied = viewer.patch("/teams/acme?dryRun=true", json!({ "name": "B" })).await;
    assert_eq!(denied.status, 403);
    let stale = owner.request(Method::PATCH, "/teams/acme?dryRun=true").header("if-match", "\"1\"");
    let stale = Client::send(stale.json(&json!({ "name": "B" }))).await;
    assert_eq!((stale.status, stale.str("code").as_str()), (412, "version_mismatch"));
    let wrong = app
        .nobody()
        .post("/auth/login?dryRun=true", json!({ "email": "x@example.org", "password": "y" }))
        .await;
    assert_eq!(wrong.status, 401, "a dry run is no way to guess");
    // That somebody tried a password is recorded, and that is all.
    let without_events = |traces: Vec<(String, i64, String)>| {
        traces.into_iter().filter(|(table, ..)| table != "events").collect::<Vec<_>>()
    };
    let count =
        |traces: &[(String, i64, String)]| traces.iter().find(|(table, ..)| table == "events").unwrap().1;
    let head = count(&before);
    let after = traces(&app).await;
    assert_eq!(without_events(after), without_events(before));
    let recorded: Vec<String> =
        sqlx::query_scalar("SELECT event_type FROM events WHERE position > $1 ORDER BY position")
            .bind(head)
            .fetch_all(app.db.pool())
            .await
            .unwrap();
    assert_eq!(recorded, ["access.sign_in_failed"]);
}
