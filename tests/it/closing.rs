//! A team that is closed stops and is as unknown as one that never was; restored, it is as it was.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::{join, mailed_token};
use tests::repository;
use tests::world::{Project, team, team_and_project};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(40);

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// How many events of this type the log has.
async fn count(app: &TestApp, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

/// A refusal but for the request that it answers.
fn refusal(mut body: Value) -> Value {
    body.as_object_mut().unwrap().remove("requestId");
    body
}

/// A path with ids of its team's, and the same with ids that nobody has.
struct Door {
    path: String,
    nobodys: String,
}

/// The reads by which one sees something of a team.
async fn doors(owner: &Client, project: &Project, deployment: &Value) -> Vec<Door> {
    let team = text(&owner.get("/teams/acme").await.expect(200)["id"]);
    let (me, id, environment) = (id_of(owner).await, &project.id, &project.production);
    let (build, deployment) = (text(&deployment["buildId"]), text(&deployment["id"]));
    let nobody = Uuid::now_v7().to_string();
    let now = Utc::now().format("%FT%TZ");
    let door = |path: String, id: &str| Door { nobodys: path.replace(id, &nobody), path };
    let mut doors = vec![door("/teams/acme".to_owned(), "acme")];
    for rest in [
        "",
        &*format!("?asOf={now}"),
        "/members",
        "/invites",
        "/roles",
        "/projects",
        "/audit",
        "/audit/export?format=csv",
    ] {
        doors.push(door(format!("/teams/{team}{rest}"), &team));
    }
    doors.push(door(format!("/teams/{team}/access-review?resource=build&action=read"), &team));
    doors.push(door(format!("/role-assignments?teamId={team}"), &team));
    doors.push(door(format!("/users/{me}/permissions?teamId={team}"), &team));
    for rest in
        ["", "/environments", "/env-vars", "/tokens", "/builds", "/env-vars/history", "/diff?from=1&to=2"]
    {
        doors.push(door(format!("/projects/{id}{rest}"), id));
    }
    doors.push(door(format!("/projects/{id}?asOf={now}"), id));
    doors.push(door(format!("/role-assignments?projectId={id}"), id));
    for rest in ["", "/deployments"] {
        doors.push(door(format!("/environments/{environment}{rest}"), environment));
    }
    for rest in ["", "/logs", "/logs/stream"] {
        doors.push(door(format!("/builds/{build}{rest}"), &build));
        doors.push(door(format!("/deployments/{deployment}{rest}"), &deployment));
    }
    doors.push(door(format!("/deployments/{deployment}/health"), &deployment));
    doors
}

/// What is shown behind the doors, which a restored team has to show again. Of what runs, and of the trail that tells
/// of it, only that it is shown.
async fn shown(client: &Client, doors: &[Door]) -> Vec<(String, Value)> {
    let mut all = vec![];
    for Door { path, .. } in doors.iter().filter(|door| !door.path.ends_with("/stream")) {
        let mut body = client.get(path).await.expect(200);
        let changes = ["/deployments", "/audit", "/builds"].iter().any(|it| path.contains(it));
        if let Some(body) = body.as_object_mut() {
            body.remove("updatedAt");
        }
        for token in body["items"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            token.remove("lastUsedAt");
        }
        all.push((path.clone(), if changes { Value::Null } else { body }));
    }
    all
}

async fn asks(app: &TestApp, client: &Client, project: &Project, what: &str, status: u16) {
    app.wait_until(what, SOON, async || project.ask(client, "/api/version").await.status == status).await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told from its beginning to its end")]
async fn a_closed_team_is_unknown_to_everybody_and_restored_it_is_as_it_was() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    let team_id = text(&owner.get("/teams/acme").await.expect(200)["id"]);
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;
    let ann = join(&app, &owner, "ann@example.org", None).await;
    let invite = json!({ "email": "ann@example.org", "role": "viewer" });
    let invite = owner.post("/teams/acme/invites", invite).await.expect(201);
    let secret = mailed_token(&app, invite["id"].as_str().unwrap()).await;
    let role = owner.post("/teams/acme/roles", json!({ "name": "Known" })).await.expect(201);
    let given = json!({
        "userId": id_of(&admin).await, "roleId": "project:viewer",
        "scope": { "type": "project", "projectId": project.id },
    });
    let given = owner.post("/role-assignments", given).await.expect(201);
    owner.put(&format!("/projects/{}/env-vars/KNOWN", project.id), json!({ "value": "x" })).await.expect(200);
    let tokens = format!("/projects/{}/tokens", project.id);
    let made = json!({ "name": "ci", "scopes": ["read", "telemetry:read"] });
    let made = owner.post(&tokens, made).await.expect(201);
    let token = app.nobody().with_token(made["plainToken"].as_str().unwrap());
    owner.patch("/me", json!({ "activeTeamId": team_id, "activeProjectId": project.id })).await.expect(200);
    let at = format!("/projects/{}", project.id);
    assert_eq!(token.get(&at).await.status, 200);

    let doors = doors(&owner, &project, &deployment).await;
    let before = shown(&owner, &doors).await;
    let mut streams = vec![];
    let logs = format!("/deployments/{}/logs/stream", text(&deployment["id"]));
    for (client, path) in [(&owner, &*logs), (&admin, &logs), (&token, &logs), (&admin, "/events/stream")] {
        let stream = client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(stream.status().as_u16(), 200, "{path}");
        streams.push(stream);
    }

    let closed = owner.delete("/teams/acme").await.expect(200);
    let began = Instant::now();
    let until: DateTime<Utc> = closed["restorableUntil"].as_str().unwrap().parse().unwrap();
    assert!((until - Utc::now() - TimeDelta::days(30)).abs() < TimeDelta::minutes(1), "{closed}");
    for stream in streams {
        let path = stream.url().path().to_owned();
        let left = Duration::from_secs(5).saturating_sub(began.elapsed());
        assert!(tokio::time::timeout(left, stream.bytes()).await.is_ok(), "{path} goes on");
    }
    for Door { path, nobodys } in &doors {
        for client in [&owner, &admin] {
            let (known, unknown) = (client.get(path).await, client.get(nobodys).await);
            assert_eq!(known.status, 404, "{path}: {}", known.text);
            assert_eq!(refusal(known.body), refusal(unknown.body), "{path}");
        }
        assert_eq!(token.get(path).await.status, 401, "{path}");
    }
    let commands = [
        (Method::PATCH, format!("/teams/{team_id}"), json!({ "name": "x" })),
        (Method::DELETE, format!("/teams/{team_id}"), json!({})),
        (Method::POST, format!("/teams/{team_id}/projects"), json!({})),
        (Method::POST, format!("/projects/{}/builds", project.id), json!({})),
        (Method::PUT, format!("/projects/{}/env-vars/NEW", project.id), json!({ "value": "x" })),
        (Method::DELETE, format!("{tokens}/{}", text(&made["token"]["id"])), json!({})),
        (Method::POST, format!("/deployments/{}/restart", text(&deployment["id"])), json!({})),
        (Method::PATCH, format!("/roles/{}", text(&role["id"])), json!({ "name": "Other" })),
        (Method::DELETE, format!("/role-assignments/{}", text(&given["id"])), json!({})),
    ];
    for (method, path, body) in commands {
        let answer = Client::send(owner.request(method.clone(), &path).json(&body)).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
    }
    let me = owner.get("/me").await.expect(200);
    assert_eq!((&me["activeTeamId"], &me["activeProjectId"]), (&Value::Null, &Value::Null));
    assert_eq!(owner.get("/teams").await.expect(200)["items"].as_array().unwrap().len(), 1, "the lobby");
    let question = json!({ "resource": "team", "action": "read", "context": { "teamId": team_id } });
    assert_eq!(owner.post("/permissions/check", question).await.expect(200)["allowed"], false);
    assert_eq!(ann.post("/invites/accept", json!({ "token": secret })).await.status, 410);
    let taken = owner.post("/teams", json!({ "name": "Other", "slug": "acme" })).await;
    assert_eq!(taken.status, 409, "its slug stays its own");
    asks(&app, &owner, &project, "the router knows it no more", 404).await;
    app.wait_until("its server is gone", SOON, async || {
        let retired =
            "SELECT count(*) FROM work WHERE process = 'retire_deployment' AND key = $1 AND state = 'done'";
        let retired = sqlx::query_scalar::<_, i64>(retired).bind(text(&deployment["id"]));
        retired.fetch_one(app.db.pool()).await.unwrap() == 1
    })
    .await;

    let restore = format!("/teams/{team_id}/restore");
    for other in [&admin, &ann] {
        assert_eq!(other.get("/teams?deleted=true").await.expect(200)["items"], json!([]));
        assert_eq!(other.post(&restore, json!({})).await.status, 404);
    }
    let listed = owner.get("/teams?deleted=true").await.expect(200);
    assert_eq!(listed["items"], json!([closed]), "as it was answered");
    assert_eq!((closed["id"].as_str(), closed["slug"].as_str()), (Some(&*team_id), Some("acme")));

    let restored = owner.post("/teams/acme/restore", json!({})).await.expect(200);
    assert_eq!((restored["id"].as_str(), &restored["createdAt"]), (Some(&*team_id), &closed["createdAt"]));
    for (now, before) in shown(&owner, &doors).await.into_iter().zip(before) {
        assert_eq!(now, before, "everything is as it was");
    }
    assert_eq!((token.get(&at).await.status, admin.get("/teams/acme").await.status), (200, 200));
    assert_eq!(owner.get("/me").await.expect(200)["activeTeamId"].as_str(), Some(&*team_id));
    assert_eq!(owner.get("/teams?deleted=true").await.expect(200)["items"], json!([]));
    ann.post("/invites/accept", json!({ "token": secret })).await.expect(200);
    asks(&app, &owner, &project, "what ran runs again", 200).await;
    let list = owner.get(&format!("/environments/{}/deployments", project.production)).await.expect(200);
    let states: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|it| (&it["type"], &it["status"])).collect();
    assert_eq!(states, [(&json!("restart"), &json!("running")), (&json!("deploy"), &json!("stopped"))]);

    owner.post(&restore, json!({})).await.expect(200);
    assert_eq!(admin.post(&restore, json!({})).await.status, 403);
    assert_eq!((count(&app, "team.reopened").await, count(&app, "team.closed").await), (1, 1), "once each");
    let trail = owner.get("/teams/acme/audit?resource=team").await.expect(200);
    let told: Vec<_> =
        trail["items"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert!(told.contains(&"team.closed") && told.contains(&"team.reopened"), "{told:?}");
}

#[tokio::test]
async fn builds_of_a_closed_team_are_cancelled_and_what_a_person_stopped_stays_stopped() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let stopped = text(&project.deployed(&app, &owner).await["id"]);
    owner.post(&format!("/deployments/{stopped}/stop"), json!({})).await.expect(200);
    let path = app.repositories().join("tiny");
    repository::change(&path, &[("behaviour.json", r#"{ "version": "2", "sleep": 600000 }"#)]);
    let (running, queued) = (project.build(&owner).await, project.build(&owner).await);
    app.wait_until("the build command runs", Duration::from_secs(60), async || {
        owner.get(&format!("/builds/{running}")).await.body["phase"] == "building"
    })
    .await;
    owner.delete("/teams/acme").await.expect(200);
    app.wait_until("both builds are over", SOON, async || count(&app, "build.cancelled").await == 2).await;
    owner.post("/teams/acme/restore", json!({})).await.expect(200);
    for build in [running, queued] {
        assert_eq!(owner.get(&format!("/builds/{build}")).await.expect(200)["status"], "cancelled");
    }
    app.settle().await;
    let list = owner.get(&format!("/environments/{}/deployments", project.production)).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "nothing was started: {list}");
}

#[tokio::test]
async fn a_team_that_nobody_restores_is_purged_when_its_time_is_over_and_a_restored_one_is_not() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for slug in ["kept", "gone"] {
        team(&owner, slug).await;
    }
    let closed = owner.delete("/teams/kept").await.expect(200);
    app.settle().await;
    let waits: bool = sqlx::query_scalar(
        "SELECT abs(extract(epoch FROM run_at - ($1::text)::timestamptz)) < 1 FROM work WHERE process = 'purge_team'",
    )
    .bind(closed["restorableUntil"].as_str().unwrap())
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    assert!(waits, "it is looked at when its time is over");
    // Its time is over for the work, and not for the team.
    app.hasten("purge_team").await;
    app.settle().await;
    owner.post("/teams/kept/restore", json!({})).await.expect(200);

    // Thirty days pass for the other: its event says that its time was over before.
    let id = text(&owner.get("/teams/gone").await.expect(200)["id"]);
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, team_id)
         VALUES ('team', $1, 2, 'team.closed', '1', $2, '{}', ($1::text)::uuid)",
    )
    .bind(&id)
    .bind(json!({ "type": "team.closed", "until": "2020-01-01T00:00:00Z" }))
    .execute(app.db.pool())
    .await
    .unwrap();
    app.wait_until("it is purged", SOON, async || count(&app, "team.deleted").await == 1).await;
    app.settle().await;
    assert_eq!(owner.post(&format!("/teams/{id}/restore"), json!({})).await.status, 404);
    assert_eq!(owner.get("/teams?deleted=true").await.expect(200)["items"], json!([]));

    // The clock of the server that looks may be behind that of the one that closed it: it is looked at again.
    let skewed = text(&team(&owner, "skewed").await["id"]);
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, team_id)
         VALUES ('team', $1, 2, 'team.closed', '1',
                 jsonb_build_object('type', 'team.closed', 'until', now() + interval '5 s'), '{}', ($1::text)::uuid)",
    )
    .bind(&skewed)
    .execute(app.db.pool())
    .await
    .unwrap();
    app.settle().await;
    let due = "UPDATE work SET run_at = now() WHERE process = 'purge_team'";
    sqlx::query(due).execute(app.db.pool()).await.unwrap();
    app.wait_until("it is purged, too", SOON, async || count(&app, "team.deleted").await == 2).await;

    let anew = team(&owner, "gone").await;
    assert_ne!(text(&anew["id"]), id, "its slug is anybody's");
    owner.get("/teams/kept").await.expect(200);
}
