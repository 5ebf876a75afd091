//! Every route with every role, with nobody, with a member of another team, with project tokens of each scope.
//!
//! The matrix here is written down once more, from the design, so that a mistake in the code's own is found.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::world::{team, team_and_project};
use uuid::Uuid;

/// Columns: team, members and invites, projects, env vars and tokens, builds, logs, audit.
/// Letters: create, read, update, delete, execute.
const MATRIX: [(&str, [&str; 7]); 7] = [
    ("owner", ["CRUD", "CRUD", "CRUD", "CRUD", "CRUDX", "R", "R"]),
    ("admin", ["RU", "CRUD", "CRUD", "CRUD", "CRUDX", "R", "R"]),
    ("developer", ["R", "R", "CRU", "CRUD", "CRX", "R", ""]),
    ("viewer", ["R", "R", "R", "", "R", "R", ""]),
    ("project:admin", ["", "", "RUD", "CRUD", "CRUDX", "R", "R"]),
    ("project:deployer", ["", "", "R", "", "CRX", "R", ""]),
    ("project:viewer", ["", "", "R", "", "R", "R", ""]),
];
/// The same for project tokens by their scope.
const TOKENS: [(&str, [&str; 7]); 4] = [
    ("read", ["", "", "R", "", "R", "", ""]),
    ("deploy", ["", "", "R", "", "CRX", "", ""]),
    ("telemetry:read", ["", "", "", "", "", "R", ""]),
    ("telemetry:write", ["", "", "", "", "", "", ""]),
];

/// Whether these letters allow a route, whose need is written `resource:action` and whose path tells whether it
/// is about the whole team.
fn allowed(letters: &[&str; 7], permission: &str, of_team: bool, is_project_role: bool) -> bool {
    let (resource, action) = permission.rsplit_once(':').unwrap();
    let column = match resource {
        "team" => 0,
        "team.members" | "team.invites" => 1,
        "project" => 2,
        "project.env_vars" | "project.tokens" => 3,
        "build" => 4,
        "observability.logs" => 5,
        "audit" => 6,
        other => panic!("no column for {other}"),
    };
    let letter = match action {
        "create" => 'C',
        "read" => 'R',
        "update" => 'U',
        "delete" => 'D',
        "execute" => 'X',
        other => panic!("no letter for {other}"),
    };
    // A role or token of one project says nothing about the team's lists.
    !(of_team && is_project_role) && letters[column].contains(letter)
}

struct Route {
    method: Method,
    path: String,
    permission: Option<String>,
    public: bool,
}

async fn routes(app: &TestApp, ids: &[(&str, String)]) -> Vec<Route> {
    let document = app.nobody().get("//openapi.json").await.expect(200);
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let mut path = path.clone();
            for (name, id) in ids {
                path = path.replace(&format!("{{{name}}}"), id);
            }
            routes.push(Route {
                method: method.to_uppercase().parse().unwrap(),
                path,
                permission: operation["x-permission"].as_str().map(str::to_owned),
                public: operation["security"] == json!([]),
            });
        }
    }
    assert!(routes.len() > 50, "the document lists every route");
    routes
}

/// The status of a route; what would change something is a dry run.
async fn status(client: &Client, route: &Route) -> u16 {
    let path = match route.path.strip_prefix("/api/v1") {
        Some(path) => path.to_owned(),
        None => format!("/{}", route.path),
    };
    let request = match route.method {
        Method::GET => client.request(Method::GET, &path),
        _ => client.request(route.method.clone(), &format!("{path}?dryRun=true")).json(&json!({})),
    };
    // Only the status: some answers are streams that do not end.
    request.send().await.unwrap().status().as_u16()
}

/// Events but for exports of the audit trail, each of which is one.
async fn events(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type <> 'access.audit_exported'")
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

/// An event of the project.
async fn event(app: &TestApp, project: &str) -> String {
    sqlx::query_scalar("SELECT event_id::text FROM events WHERE aggregate_id = $1 AND sequence = 1")
        .bind(project)
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

/// Gives a project role, as the log would have it.
async fn assign(app: &TestApp, user: &str, role: &str, project: &str) {
    let payload = json!({
        "type": "role.assigned",
        "user_id": user,
        "role": role,
        "scope": { "type": "project", "projectId": project },
    });
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('role_assignment', $1, 1, 'role.assigned', '1', $2, '{}')",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(payload)
    .execute(app.db.pool())
    .await
    .unwrap();
    app.settle().await;
}

/// An event of the project's team that a checkpoint covers.
async fn position_of(app: &TestApp, project: &str) -> String {
    let covered = "SELECT min(e.position) FROM events e
                    WHERE e.aggregate_id = $1 AND e.position <= (SELECT max(size) FROM ledger_checkpoints)";
    let mut found: Option<i64> = None;
    app.wait_until("a checkpoint covers it", Duration::from_secs(30), async || {
        found = sqlx::query_scalar(covered).bind(project).fetch_one(app.db.pool()).await.unwrap();
        found.is_some()
    })
    .await;
    found.unwrap().to_string()
}

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_is_held_to_the_matrix() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    let tokens = format!("/projects/{}/tokens", project.id);
    owner.put(&format!("/projects/{}/env-vars/KNOWN", project.id), json!({ "value": "x" })).await.expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    let mut people: Vec<(&str, Client)> = vec![("owner", owner.clone())];
    for role in ["admin", "developer", "viewer"] {
        people.push((role, join(&app, &owner, &format!("{role}@example.org"), Some(("acme", role))).await));
    }
    for role in ["project:admin", "project:deployer", "project:viewer"] {
        let email = format!("{}@example.org", role.replace(':', "-"));
        let person = join(&app, &owner, &email, None).await;
        assign(&app, &id_of(&person).await, role, &project.id).await;
        people.push((role, person));
    }
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;

    // Nobody of those who ask: everybody may end his own membership.
    let bystander = join(&app, &owner, "bystander@example.org", Some(("acme", "viewer"))).await;
    let invite =
        owner.post("/teams/acme/invites", json!({ "email": "x@example.org", "role": "viewer" })).await;
    let token = owner.post(&tokens, json!({ "name": "known" })).await.expect(201);
    let ids = [
        ("team", "acme".to_owned()),
        ("project", project.id.clone()),
        ("environment", project.production.clone()),
        ("build", text(&deployment["buildId"])),
        ("deployment", text(&deployment["id"])),
        ("invite", invite.str("id")),
        ("user", id_of(&bystander).await),
        ("token", text(&token["token"]["id"])),
        ("key", "KNOWN".to_owned()),
        ("session", Uuid::now_v7().to_string()),
        ("event", event(&app, &project.id).await),
        ("position", position_of(&app, &project.id).await),
    ];
    let mut scoped = Vec::new();
    for (scope, letters) in TOKENS {
        let made = owner.post(&tokens, json!({ "name": scope, "scopes": [scope] })).await.expect(201);
        scoped.push((scope, letters, app.nobody().with_token(made["plainToken"].as_str().unwrap())));
    }
    app.settle().await;
    let before = events(&app).await;
    for route in routes(&app, &ids).await {
        let at = format!("{} {}", route.method, route.path);
        let nobody = status(&app.nobody(), &route).await;
        assert_eq!(nobody == 401, !route.public && !at.ends_with("/auth/login"), "nobody: {at}: {nobody}");
        let Some(permission) = &route.permission else { continue };
        let of_team = route.path.contains("/teams/") || route.path.contains("/audit/proof/");
        assert_eq!(status(&stranger, &route).await, 404, "stranger: {at}");
        for (role, letters) in MATRIX {
            let person = &people.iter().find(|(name, _)| *name == role).unwrap().1;
            let got = status(person, &route).await;
            let may = allowed(&letters, permission, of_team, role.starts_with("project:"));
            assert_eq!(may, ![401, 403, 404].contains(&got), "{role}: {at} needs {permission}: {got}");
        }
        for (scope, letters, client) in &scoped {
            let got = status(client, &route).await;
            let may = allowed(letters, permission, of_team, true);
            assert_eq!(may, ![401, 403, 404].contains(&got), "token {scope}: {at} needs {permission}: {got}");
        }
    }
    assert_eq!(events(&app).await, before, "nothing was appended");
}
