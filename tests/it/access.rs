//! Access: what was denied, failed or taken away is recorded before it is answered, and floods are bounded.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use tests::app::{OWNER, PASSWORD, TestApp, program};
use tests::client::Client;
use tests::people::join;
use tests::world::{team, team_and_project};
use tokio::process::Command;
use uuid::Uuid;

/// Payload and metadata of the events of a type, in their order.
async fn events(app: &TestApp, event_type: &str) -> Vec<(Value, Value)> {
    let rows = sqlx::query("SELECT payload, metadata FROM events WHERE event_type = $1 ORDER BY position")
        .bind(event_type)
        .fetch_all(app.db.pool())
        .await
        .unwrap();
    rows.iter().map(|row| (row.get("payload"), row.get("metadata"))).collect()
}

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned()
}

async fn login(client: &Client, email: &str, password: &str) -> u16 {
    client.post("/auth/login", json!({ "email": email, "password": password })).await.status
}

#[tokio::test]
async fn denied_commands_are_in_the_audit_trail_of_what_they_were_about() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let path = format!("/projects/{}", project.id);
    assert_eq!(viewer.patch(&path, json!({ "name": "Mine" })).await.status, 403);
    assert_eq!(stranger.delete(&path).await.status, 404, "he may not even know of it");

    // Neither reads, nor dry runs, nor what does not exist, nor what is there no more.
    assert_eq!(stranger.get(&path).await.status, 404);
    let dry = viewer.request(Method::PATCH, &format!("{path}?dryRun=true")).json(&json!({ "name": "Mine" }));
    assert_eq!(Client::send(dry).await.status, 403);
    assert_eq!(viewer.delete(&format!("/projects/{}", Uuid::now_v7())).await.status, 404);
    assert_eq!(owner.delete(&format!("{path}/env-vars/NONE")).await.status, 404);
    app.settle().await;

    let trail = owner.get("/teams/acme/audit?outcome=denied").await.expect(200);
    let items = trail["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{trail}");
    let (hidden, refused) = (&items[0], &items[1]);
    assert_eq!(refused["actor"], format!("user:{}", id_of(&viewer).await));
    assert_eq!((&refused["resource"], &refused["resourceId"]), (&json!("project"), &json!(project.id)));
    assert_eq!((&refused["projectId"], &refused["sourceIp"]), (&json!(project.id), &json!("127.0.0.1")));
    assert_eq!(
        refused["after"],
        json!({
            "method": "PATCH", "route": "/api/v1/projects/{project}", "status": 403, "code": "forbidden",
            "needs": "project:update", "target": { "kind": "project", "id": project.id }, "project_id": project.id,
        })
    );
    assert_eq!((&hidden["after"]["method"], &hidden["after"]["status"]), (&json!("DELETE"), &json!(404)));
    assert_eq!(events(&app, "access.command_denied").await.len(), 2);
}

#[tokio::test]
async fn failed_sign_ins_are_recorded_without_anything_that_could_not_be_erased() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id = id_of(&owner).await;
    let nobody = app.nobody();
    assert_eq!(login(&nobody, OWNER, "wrong wrong wrong").await, 401);
    assert_eq!(login(&nobody, "ghost@example.net", "wrong wrong wrong").await, 401);
    let dry = json!({ "email": OWNER, "password": "wrong wrong wrong" });
    let dry = Client::send(nobody.request(Method::POST, "/auth/login?dryRun=true").json(&dry)).await;
    assert_eq!(dry.status, 401);
    let wrong = json!({ "current": "wrong wrong wrong", "new": "another long password" });
    assert_eq!(owner.post("/auth/password", wrong).await.status, 422);

    let failed = events(&app, "access.sign_in_failed").await;
    assert_eq!(failed.len(), 4, "guessing in dry runs is guessing too: {failed:?}");
    let (known, envelope) = &failed[0];
    assert_eq!((&known["reason"], &known["user_id"]), (&json!("wrong_password"), &json!(id)));
    assert_eq!(known.get("email_hash"), None, "the account says it");
    // Sealed under the key of the person whose account it is.
    assert_eq!(
        (&envelope["actor"], &envelope["on_behalf_of"]),
        (&json!("anonymous"), &json!(format!("user:{id}")))
    );
    let (unknown, envelope) = &failed[1];
    assert_eq!(unknown["reason"], "unknown_account");
    assert_eq!(unknown["email_hash"].as_str().unwrap().len(), 64, "a keyed hash");
    assert_eq!((&envelope["actor"], envelope.get("on_behalf_of")), (&json!("anonymous"), None));
    assert_eq!(failed[3].1["actor"], format!("user:{id}"), "who is signed in is known");
    let all: String =
        sqlx::query_scalar("SELECT string_agg(payload::text || metadata::text, ' ') FROM events")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    for clear in ["ghost@example.net", OWNER, "127.0.0.1", "wrong wrong"] {
        assert!(!all.contains(clear), "{clear} stands in the log");
    }

    // They belong to no team: the operator sees them.
    let mut tool = Command::new(program("replay-tool"));
    let said =
        tool.args(["history", "access", "--json"]).env("DATABASE_URL", app.db.url()).output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.matches("\"type\":\"access.sign_in_failed\",\"version\"").count(), 4, "{said}");

    // Tries that are not even looked at are tries.
    let mut last = 401;
    for _ in 0..12 {
        last = login(&nobody, "ghost@example.net", "wrong wrong wrong").await;
    }
    assert_eq!(last, 429);
    let reasons = events(&app, "access.sign_in_failed").await;
    assert!(reasons.iter().any(|(payload, _)| payload["reason"] == "throttled"));
}

#[tokio::test]
async fn a_flood_of_denied_commands_adds_a_bounded_number_of_events_and_each_is_counted() {
    const FLOOD: usize = 10_000;
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let head = async || -> i64 {
        sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap()
    };
    app.settle().await;
    let before = head().await;
    let denied = stream::iter(0..FLOOD)
        .map(|_| async { viewer.patch("/teams/acme", json!({ "name": "Mine" })).await.status })
        .buffer_unordered(8)
        .filter(|status| std::future::ready(*status == 403))
        .count()
        .await;
    assert_eq!(denied, FLOOD);
    let counted = async || -> i64 {
        sqlx::query_scalar(
            "SELECT coalesce(sum(CASE event_type WHEN 'access.suppressed' THEN (payload ->> 'count')::bigint
                                                 WHEN 'access.command_denied' THEN 1 END), 0)::bigint FROM events",
        )
        .fetch_one(app.db.pool())
        .await
        .unwrap()
    };
    let all = i64::try_from(FLOOD).unwrap();
    app.wait_until("the summary is recorded", Duration::from_secs(120), async || counted().await == all)
        .await;
    // However many minutes it took: 30 of one account, and two summaries, in each.
    let minutes: i64 = sqlx::query_scalar(
        "SELECT ceil(extract(epoch FROM max(recorded_at) - min(recorded_at)) / 60)::bigint + 1 FROM events
          WHERE position > $1",
    )
    .bind(before)
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    let added = head().await - before;
    assert!(added <= 32 * minutes, "{added} events in {minutes} minutes");
}

/// Runs statements on a connection of its own, which is always allowed to write.
async fn operate(app: &TestApp, statements: &str) {
    let options = app.db.options().options([("default_transaction_read_only", "off")]);
    let mut db = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(statements).execute(&mut db).await.unwrap();
}

/// What must leave a trace, and is done once it does.
async fn traced(app: &TestApp, owner: &Client, viewer: &Client, project: &str) -> Vec<u16> {
    let denied = viewer.patch("/teams/acme", json!({ "name": "Mine" })).await;
    let failed = app.nobody().post("/auth/login", json!({ "email": OWNER, "password": "wrong wrong" })).await;
    let revealed = owner.get(&format!("/projects/{project}/env-vars?reveal=true")).await;
    let exported = owner.get("/teams/acme/audit/export").await;
    for answer in [&denied, &failed, &revealed, &exported] {
        assert!(answer.status != 503 || answer.headers.contains_key("retry-after"), "{}", answer.text);
        assert!(
            answer.status != 503 || !answer.text.contains("shown"),
            "nothing is given away: {}",
            answer.text
        );
    }
    vec![denied.status, failed.status, revealed.status, exported.status]
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await.id;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let variable = json!({ "value": "shown", "sensitive": false });
    owner.put(&format!("/projects/{project}/env-vars/B"), variable).await.expect(200);
    app.settle().await;
    assert_eq!(traced(&app, &owner, &viewer, &project).await, [403, 401, 200, 200]);

    let refuse =
        "CREATE TRIGGER broken BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()";
    operate(&app, refuse).await;
    assert_eq!(traced(&app, &owner, &viewer, &project).await, [503; 4], "a log that cannot be appended to");
    operate(&app, "DROP TRIGGER broken ON events").await;
    assert_eq!(traced(&app, &owner, &viewer, &project).await, [403, 401, 200, 200], "and it goes on");

    let database = app.db.options().get_database().unwrap().to_owned();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let read_only = |value: &str| {
        format!("ALTER DATABASE {database} SET default_transaction_read_only = {value}; {others}")
    };
    operate(&app, &read_only("on")).await;
    app.wait_until("the server has connected anew", Duration::from_secs(20), async || {
        owner.get("/me").await.status == 200
    })
    .await;
    assert_eq!(traced(&app, &owner, &viewer, &project).await, [503; 4], "a database that is read-only");
    operate(&app, &read_only("off")).await;
    app.wait_until("the server has connected anew", Duration::from_secs(20), async || {
        viewer.patch("/teams/acme", json!({ "name": "Mine" })).await.status == 403
    })
    .await;
    assert_eq!(login(&app.nobody(), OWNER, PASSWORD).await, 200);
}
