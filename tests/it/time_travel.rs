//! Looking back: every answer as it was then, to who may see it now.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::{Project, project, team, team_and_project};
use uuid::Uuid;

async fn head(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap()
}

/// The path with a question about the past added to what it asks already.
fn at(path: &str, moment: impl std::fmt::Display) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}asOf={moment}")
}

fn field(answer: &Answer) -> &str {
    answer.body["errors"][0]["field"].as_str().unwrap_or("-")
}

/// What answers `?asOf=`, with the ids of a world.
fn supported(project: &Project, build: &str, deployment: &str) -> Vec<String> {
    let (id, environment) = (&project.id, &project.production);
    vec![
        "/teams/acme".to_owned(),
        "/teams/acme/members".to_owned(),
        "/teams/acme/invites".to_owned(),
        "/teams/acme/roles".to_owned(),
        "/teams/acme/installations".to_owned(),
        "/teams/acme/access-review?resource=team&action=read".to_owned(),
        "/teams/acme/projects".to_owned(),
        format!("/projects/{id}"),
        format!("/projects/{id}/environments"),
        format!("/environments/{environment}"),
        format!("/projects/{id}/env-vars"),
        format!("/projects/{id}/env-vars/history"),
        format!("/projects/{id}/tokens"),
        format!("/projects/{id}/repository"),
        format!("/projects/{id}/push-hooks"),
        format!("/projects/{id}/builds"),
        format!("/builds/{build}"),
        format!("/environments/{environment}/deployments"),
        format!("/deployments/{deployment}"),
    ]
}

/// Every answer of these paths, with its version.
async fn answers(
    client: &Client,
    paths: &[String],
    moment: Option<i64>,
) -> Vec<(String, u16, String, Value)> {
    let mut all = Vec::new();
    for path in paths {
        let asked = moment.map_or_else(|| path.clone(), |moment| at(path, moment));
        let answer = client.get(&asked).await;
        let tag = answer.headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
        if let Some(moment) = moment {
            assert_eq!(answer.headers["x-event-position"], moment.to_string().as_str(), "{asked}");
        }
        all.push((path.clone(), answer.status, tag, answer.body));
    }
    all
}

#[tokio::test]
async fn every_answer_is_that_of_then() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    let (build, deployment) = (deployment["buildId"].as_str().unwrap(), deployment["id"].as_str().unwrap());
    let vars = format!("/projects/{}/env-vars", project.id);
    owner.put(&format!("{vars}/ONE"), json!({ "value": "first", "sensitive": false })).await.expect(200);
    let token =
        owner.post(&format!("/projects/{}/tokens", project.id), json!({ "name": "ci" })).await.expect(201);
    owner
        .post("/teams/acme/invites", json!({ "email": "x@example.org", "role": "viewer" }))
        .await
        .expect(201);
    join(&app, &owner, "ann@example.org", Some(("acme", "viewer"))).await;
    app.settle().await;
    let paths = supported(&project, build, deployment);
    let then = head(&app).await;
    let before = answers(&owner, &paths, None).await;

    // Everything that these show changes.
    owner.put(&format!("{vars}/ONE"), json!({ "value": "second", "sensitive": true })).await.expect(200);
    owner.put(&format!("{vars}/TWO"), json!({ "value": "x" })).await.expect(200);
    let token = token["token"]["id"].as_str().unwrap();
    owner.delete(&format!("/projects/{}/tokens/{token}", project.id)).await.expect(200);
    owner
        .patch(&format!("/projects/{}", project.id), json!({ "name": "Renamed", "slug": "new" }))
        .await
        .expect(200);
    owner
        .patch(&format!("/environments/{}", project.production), json!({ "name": "Prod" }))
        .await
        .expect(200);
    owner.patch("/teams/acme", json!({ "name": "New name" })).await.expect(200);
    owner
        .post("/teams/acme/invites", json!({ "email": "y@example.org", "role": "viewer" }))
        .await
        .expect(201);
    join(&app, &owner, "bob@example.org", Some(("acme", "viewer"))).await;
    self::project(&owner, "acme", "other", &app.repository("tiny", "other"), json!({})).await;
    tests::github::installed(&app, &owner, "acme").await;
    project.build(&owner).await;
    owner.post(&format!("/deployments/{deployment}/stop"), json!({})).await.expect(200);
    app.settle().await;

    let now = answers(&owner, &paths, None).await;
    let past = answers(&owner, &paths, Some(then)).await;
    for ((was, is), seen) in before.iter().zip(&now).zip(&past) {
        assert_eq!(was.1, 200, "{}: {}", was.0, was.3);
        assert_eq!(seen, was, "{}", was.0);
        if !was.0.ends_with("/roles") && !was.0.starts_with("/builds/") {
            assert_ne!((&was.2, &was.3), (&is.2, &is.3), "{} has not changed", was.0);
        }
    }
    assert_eq!(answers(&owner, &paths, Some(head(&app).await)).await, now, "the last moment is the present");
}

#[tokio::test]
async fn a_time_is_the_last_event_recorded_until_then() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let made = owner.post("/teams", json!({ "name": "One", "slug": "acme" })).await;
    let first: i64 = made.headers["x-event-position"].to_str().unwrap().parse().unwrap();
    owner.patch("/teams/acme", json!({ "name": "Two" })).await.expect(200);
    let recorded: DateTime<Utc> = sqlx::query_scalar("SELECT recorded_at FROM events WHERE position = $1")
        .bind(first)
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    let name = async |moment: String| owner.get(&at("/teams/acme", moment)).await;
    let exact = name(recorded.to_rfc3339().replace('+', "%2B")).await;
    assert_eq!((exact.status, exact.str("name").as_str()), (200, "One"), "{}", exact.text);
    assert_eq!(exact.headers["x-event-position"], first.to_string().as_str());
    let lost_plus = name(recorded.to_rfc3339()).await;
    assert_eq!(lost_plus.body, exact.body);
    let just_before = recorded - chrono::Duration::microseconds(1);
    assert_eq!(name(just_before.format("%FT%T%.6fZ").to_string()).await.status, 404, "not made yet");
    let now = Utc::now().format("%FT%T%.6fZ").to_string();
    assert_eq!(name(now).await.str("name"), "Two");
    assert_eq!(name("0001-01-01T00:00:00Z".to_owned()).await.status, 404);

    // A writer whose clock is behind: positions are the order, so what it wrote later is not seen earlier alone.
    let behind = recorded - chrono::Duration::seconds(30);
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             recorded_at)
         VALUES ('operation', $1, 1, 'ops.consumer_paused', '1',
                 '{\"type\":\"ops.consumer_paused\",\"consumer\":\"x\"}', '{}', $2)",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(behind)
    .execute(app.db.pool())
    .await
    .unwrap();
    let skewed = name(behind.format("%FT%T%.6fZ").to_string()).await;
    assert_eq!(skewed.headers["x-event-position"], head(&app).await.to_string().as_str());
    assert_eq!(skewed.str("name"), "Two");
}

#[tokio::test]
async fn what_is_no_moment_of_the_log_is_refused_and_so_is_what_knows_no_past() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let beyond = (head(&app).await + 1).to_string();
    for odd in [
        "0",
        "-1",
        "x",
        "",
        "1.5",
        "yesterday",
        beyond.as_str(),
        "99999999999999999999",
        "2999-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01",
    ] {
        let refused = owner.get(&at("/teams/acme", odd)).await;
        assert_eq!((refused.status, field(&refused)), (422, "asOf"), "{odd}: {}", refused.text);
    }
    let twice = owner.get("/teams/acme?asOf=1&asOf=2").await;
    assert_eq!((twice.status, field(&twice)), (422, "asOf"));

    // Every route either says that it knows the past, or refuses to be asked.
    let document = app.nobody().get("//openapi.json").await.expect(200);
    let mut knowing = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let listed = |parameter: &Value| parameter["name"] == "asOf";
            if operation["parameters"].as_array().unwrap().iter().any(listed) {
                assert_eq!(method, "get", "{path}");
                knowing += 1;
                continue;
            }
            let path = path.split('/').map(|part| if part == "{team}" { "acme" } else { part });
            let path: Vec<_> = path
                .map(|part| if part.starts_with('{') { "01900000-0000-7000-8000-000000000000" } else { part })
                .collect();
            let path = format!("/{}?asOf=1", path.join("/"));
            let method: reqwest::Method = method.to_uppercase().parse().unwrap();
            let refused = Client::send(owner.request(method.clone(), &path).json(&json!({}))).await;
            assert_eq!((refused.status, field(&refused)), (422, "asOf"), "{method} {path}: {}", refused.text);
        }
    }
    let world =
        Project { team: String::new(), slug: String::new(), id: String::new(), production: String::new() };
    assert_eq!(knowing, supported(&world, "", "").len(), "every_answer_is_that_of_then asks all of them");
}

#[tokio::test]
async fn what_has_gone_is_seen_by_who_may_read_in_its_team_now() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let former = join(&app, &owner, "former@example.org", Some(("acme", "viewer"))).await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    let gone = project(&owner, "acme", "gone", &app.repository("tiny", "gone"), json!({})).await;
    let staging = owner
        .post(&format!("/projects/{}/environments", gone.id), json!({ "name": "S", "type": "staging" }))
        .await;
    let staging = staging.str("id");
    owner
        .put(&format!("/projects/{}/env-vars/KEY", gone.id), json!({ "value": "v", "sensitive": false }))
        .await
        .expect(200);
    let then = head(&app).await;
    owner.delete(&format!("/environments/{staging}")).await.expect(200);
    owner.delete(&format!("/projects/{}", gone.id)).await.expect(200);
    let former_id = former.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    owner.delete(&format!("/teams/acme/members/{former_id}")).await.expect(200);

    let paths = [
        format!("/projects/{}", gone.id),
        format!("/environments/{staging}"),
        format!("/environments/{}", gone.production),
    ];
    for path in &paths {
        assert_eq!(owner.get(path).await.status, 404, "{path}");
        for (who, client, status) in [
            ("owner", &owner, 200),
            ("viewer", &viewer, 200),
            ("former", &former, 404),
            ("stranger", &stranger, 404),
        ] {
            let answer = client.get(&at(path, then)).await;
            assert_eq!(answer.status, status, "{who} {path}: {}", answer.text);
        }
        assert_eq!(owner.get(&at(path, 1)).await.status, 404, "{path} was not there yet");
        assert_eq!(owner.get(&at(path, head(&app).await)).await.status, 404, "{path} is not there any more");
    }
    let vars = format!("/projects/{}/env-vars", gone.id);
    assert_eq!(viewer.get(&at(&vars, then)).await.status, 403, "what he may not see now he may not see then");
    assert_eq!(owner.get(&at(&vars, then)).await.expect(200)["items"][0]["key"], "KEY");
    let members = owner.get(&at("/teams/acme/members", then)).await.expect(200);
    assert!(members.to_string().contains("former@example.org"), "{members}");
    let unknown = at(&format!("/projects/{}", Uuid::now_v7()), then);
    assert_eq!(owner.get(&unknown).await.status, 404);
}

/// Gives the owner a custom role that may see sensitive values, as the log would have it.
async fn manage_env_vars(app: &TestApp, owner: &Client) {
    let user = owner.get("/me").await.expect(200)["id"].clone();
    let team = owner.get("/teams/acme").await.expect(200)["id"].clone();
    let role = Uuid::now_v7();
    let definition = json!({
        "name": "keeper", "inherits": [],
        "permissions": [{ "resource": "project.env_vars", "action": "manage" }],
    });
    let created = json!({ "type": "role.created", "team_id": team, "definition": definition });
    let scope = json!({ "type": "team", "teamId": team });
    let assigned = json!({ "type": "role.assigned", "user_id": user, "role": role, "scope": scope });
    for (kind, id, event_type, payload) in [
        ("role", role, "role.created", created),
        ("role_assignment", Uuid::now_v7(), "role.assigned", assigned),
    ] {
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ($1, $2, 1, $3, '1', $4, '{}')",
        )
        .bind(kind)
        .bind(id.to_string())
        .bind(event_type)
        .bind(payload)
        .execute(app.db.pool())
        .await
        .unwrap();
    }
    app.settle().await;
}

#[tokio::test]
async fn values_of_then_are_revealed_to_who_may_see_them_now() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let developer = join(&app, &owner, "dev@example.org", Some(("acme", "developer"))).await;
    let made = project(&owner, "acme", "agent", &app.repository("tiny", "agent"), json!({})).await;
    let vars = format!("/projects/{}/env-vars", made.id);
    let set = async |value: &str, sensitive: bool| {
        owner
            .put(&format!("{vars}/KEY"), json!({ "value": value, "sensitive": sensitive }))
            .await
            .expect(200);
        head(&app).await
    };
    let open = set("in the open", false).await;
    let reveal = format!("{vars}?reveal=true");
    let seen = developer.get(&at(&reveal, open)).await.expect(200);
    assert_eq!(seen["items"][0]["value"], "in the open");
    let closed = set("secret", true).await;
    assert_eq!(developer.get(&at(&reveal, open)).await.status, 403, "it has become sensitive since");
    assert_eq!(developer.get(&at(&reveal, closed)).await.status, 403);
    manage_env_vars(&app, &owner).await;
    let before = head(&app).await;
    let seen = owner.get(&at(&reveal, open)).await.expect(200);
    assert_eq!(seen["items"][0]["value"], "in the open");
    let seen = owner.get(&at(&reveal, closed)).await.expect(200);
    assert_eq!(seen["items"][0]["value"], "secret");
    assert_eq!(head(&app).await, before + 2, "that somebody saw them is recorded");
    // What was erased is erased in the past, too.
    sqlx::query("UPDATE data_keys SET wrapped = NULL, destroyed_at = now() WHERE owner = $1")
        .bind(format!("project:{}", made.id))
        .execute(app.db.pool())
        .await
        .unwrap();
    let mut app = app;
    app.kill_and_restart().await;
    let seen = app.owner().await.get(&at(&reveal, open)).await.expect(200);
    assert_eq!(seen["items"][0]["value"], "[erased]");
}

#[tokio::test]
async fn looking_back_leaves_nothing_and_is_bounded() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let then = head(&app).await;
    let many = (0..24).map(|_| owner.get(Box::leak(at("/teams/acme/members", then).into_boxed_str())));
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.iter().any(|answer| answer.status == 200));
    for answer in &answers {
        let busy = answer.status == 503 && answer.headers.contains_key("retry-after");
        assert!(answer.status == 200 || busy, "{} {}", answer.status, answer.text);
    }
    app.wait_until("its connections are gone", std::time::Duration::from_secs(10), async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relname = 'teams'")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
        left == 1
    })
    .await;
    assert_eq!(owner.get(&at("/teams/acme", then)).await.status, 200, "the places are free again");
}
