//! Every route with every role, with nobody, with a member of another team, with project tokens of each scope: the exact
//! status, that a refusal changes nothing and is recorded, and that what belongs to others is as unknown as nothing.

mod foreign;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::github::{GitHub, INSTALLATION, installed};
use tests::people::join;
use tests::world::{Project, endpoints, team, team_and_project};
use uuid::Uuid;

use crate::dry_run::cases::{Case, cases, of_team, with_body};
use table::{About, ROLES, ROUTES, Row, TOKENS};

/// Something to ask for.
struct Call {
    row: Row,
    method: Method,
    /// As [`Client::request`] takes it.
    path: String,
    /// The same about something that nobody has.
    of_nobody: String,
    body: Value,
}

impl Call {
    fn with(&self, client: &Client, (path, team): (&str, &str), dry: bool) -> RequestBuilder {
        if self.method == Method::GET {
            return client.request(Method::GET, path);
        }
        let dry = if dry { "?dryRun=true" } else { "" };
        let request = client.request(self.method.clone(), &format!("{path}{dry}"));
        with_body(of_team(request, path, team), &self.body)
    }

    /// About what the project's team has.
    fn theirs(&self) -> (&str, &str) {
        (&self.path, "acme")
    }

    /// Only the status: some answers are streams that do not end.
    async fn status(&self, client: &Client, dry: bool) -> u16 {
        self.with(client, self.theirs(), dry).send().await.unwrap().status().as_u16()
    }
}

/// A refusal without what is different in every answer.
async fn refusal(request: RequestBuilder) -> Value {
    let answer = Client::send(request).await;
    let mut body = answer.body;
    if let Some(problem) = body.as_object_mut() {
        problem.remove("requestId");
    }
    json!({ "status": answer.status, "body": body })
}

/// An event of the project.
async fn event(app: &TestApp, project: &str) -> String {
    sqlx::query_scalar("SELECT event_id::text FROM events WHERE aggregate_id = $1 AND sequence = 1")
        .bind(project)
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

/// Gives a project role to who does not belong to the team, as the log might have it.
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

/// A delivery that concerned the team.
async fn delivery(app: &TestApp, github: &GitHub, owner: &Client) -> String {
    let of = json!({ "installation": { "id": INSTALLATION } });
    github.deliver("ping", None, of, "ping").await;
    let mut found = Value::Null;
    app.wait_until("it is worked on", Duration::from_secs(30), async || {
        found = owner.get("/teams/acme/deliveries").await.expect(200)["items"][0]["id"].clone();
        !found.is_null()
    })
    .await;
    found.as_str().unwrap().to_owned()
}

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned()
}

/// Events but those of access itself, of exports of variables, which are looks, and of processes, which go on: the older
/// deployment is replaced in its time.
async fn events(app: &TestApp) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM events
          WHERE aggregate_type <> 'access' AND event_type <> 'project.env_vars_revealed'
            AND metadata ->> 'actor' NOT LIKE 'process:%'",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap()
}

/// Denials, those too that a flood only counts.
async fn denials(app: &TestApp) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(CASE event_type WHEN 'access.suppressed' THEN (payload ->> 'count')::bigint
                                             WHEN 'access.command_denied' THEN 1 END), 0)::bigint FROM events",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap()
}

/// The commands that the dry runs give: path and body, by their route.
async fn commands(
    app: &TestApp,
    owner: &Client,
    project: &Project,
    first: &Value,
) -> BTreeMap<String, (String, Value)> {
    let by_route = |case: Case| {
        let below = match case.route.strip_prefix('/').filter(|whole| whole.starts_with('/')) {
            Some(whole) => whole.to_owned(),
            None => format!("/api/v1{}", case.route),
        };
        (format!("{} {below}", case.method), (case.path, case.body))
    };
    cases(app, owner, project, first).await.into_iter().map(by_route).collect()
}

/// Telemetry that is taken in and leaves nothing.
fn telemetry(route: &str) -> Value {
    match route.ends_with("}/scores") {
        true => json!({ "name": "x", "value": 1 }),
        false => json!({ "spans": [], "logs": [], "metrics": [], "scores": [], "feedback": [] }),
    }
}

/// Every route of the server, as the table has it. Fails for a route that is missing here or there.
async fn calls(app: &TestApp, github: &GitHub, owner: &Client, project: &Project) -> Vec<Call> {
    let first = project.deployed(app, owner).await;
    project.deployed(app, owner).await;
    app.settle().await;
    let commands = commands(app, owner, project, &first).await;
    let bystander = join(app, owner, "bystander@example.org", Some(("acme", "viewer"))).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let trace = crate::telemetry::one_trace(app, owner, project).await;
    let endpoints = endpoints(app, owner).await;
    let ids = [
        ("installation", installed(app, owner, "acme").await),
        ("delivery", delivery(app, github, owner).await),
        ("endpoint", endpoints.mail),
        ("message", endpoints.message),
        ("owner", "acme".to_owned()),
        ("name", "agent".to_owned()),
        ("team", "acme".to_owned()),
        ("teamId", text(&owner.get("/teams/acme").await.expect(200)["id"])),
        ("project", project.id.clone()),
        ("environment", project.production.clone()),
        ("build", text(&first["buildId"])),
        ("deployment", text(&first["id"])),
        ("user", id_of(&bystander).await),
        ("event", event(app, &project.id).await),
        ("position", position_of(app, &project.id).await),
        ("trace", trace),
    ];
    let document = app.nobody().get("//openapi.json").await.expect(200);
    let mut served = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let route = format!("{} {path}", method.to_uppercase());
            let row = ROUTES
                .iter()
                .find(|row| row.0 == route)
                .unwrap_or_else(|| panic!("{route} is not in the table"));
            assert_eq!(operation["x-permission"].as_str().unwrap_or_default(), row.1, "{route}");
            assert_eq!(operation["security"] == json!([]), row.2 == About::Nothing, "{route}");
            served.insert(route);
        }
    }
    assert_eq!(served.len(), ROUTES.len(), "the table has routes that are not served, or some twice");
    let filled = |text: &str, ids: &[(&str, String)]| {
        ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
    };
    let call = |row: &Row| {
        let (method, route) = row.0.split_once(' ').unwrap();
        let below = route.strip_prefix("/api/v1").map_or_else(|| format!("/{route}"), str::to_owned);
        let query = if row.3.is_empty() { String::new() } else { format!("?{}", row.3) };
        let (mut path, body) = match commands.get(row.0) {
            // That of the cases is about another project.
            Some((_, body)) if route.ends_with("/env-vars/{key}") && method == "PUT" => {
                (filled(&below, &ids).replace("{key}", "KNOWN"), body.clone())
            }
            Some((path, body)) => (path.clone(), body.clone()),
            None => (filled(&below, &ids), telemetry(route)),
        };
        path.push_str(&filled(&query, &ids));
        let nobodys = ids.clone().map(|(name, _)| {
            (name, if name == "position" { i64::MAX.to_string() } else { Uuid::now_v7().to_string() })
        });
        let of_nobody = filled(&below, &nobodys);
        // What only commands name.
        let of_nobody = ["role", "assignment", "invite", "token", "key", "deploy", "hook"]
            .iter()
            .fold(of_nobody, |path, name| path.replace(&format!("{{{name}}}"), &Uuid::now_v7().to_string()));
        let of_nobody = of_nobody + &filled(&query, &nobodys);
        Call { row: *row, method: method.parse().unwrap(), path, of_nobody, body }
    };
    ROUTES.iter().map(call).collect()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk, told from its beginning to its end")]
async fn every_route_is_held_to_the_table() {
    let github = GitHub::start().await;
    github.repository("acme/agent", "tiny").await;
    let app = github.app(&[]).await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let calls = calls(&app, &github, &owner, &project).await;

    let mut people: Vec<(&str, [&str; 9], bool, Client)> = vec![];
    for (role, letters) in ROLES {
        let email = format!("{}@example.org", role.replace(':', "-"));
        let client = match role {
            "owner" => owner.clone(),
            role if role.starts_with("project:") => {
                let client = join(&app, &owner, &email, None).await;
                assign(&app, &id_of(&client).await, role, &project.id).await;
                client
            }
            role => join(&app, &owner, &email, Some(("acme", role))).await,
        };
        people.push((role, letters, role.starts_with("project:"), client));
    }
    for (scope, letters) in TOKENS {
        let body = json!({ "name": scope, "scopes": [scope] });
        let made = owner.post(&format!("/projects/{}/tokens", project.id), body).await.expect(201);
        people.push((scope, letters, true, app.nobody().with_token(made["plainToken"].as_str().unwrap())));
    }
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    app.settle().await;

    let (before, denied) = (events(&app).await, denials(&app).await);
    let mut refused = 0;
    for call in &calls {
        let (route, right, about, _) = call.row;
        let nobody = call.status(&app.nobody(), about == About::Nothing).await;
        match about {
            About::Nothing => {
                let wrong = route.ends_with("/auth/login")
                    || route.ends_with("/register")
                    || route.ends_with("/webhooks/github") // there is no signature
                    || route.ends_with("/setup");
                assert!(nobody != 401 || wrong, "nobody: {route}: {nobody}");
                continue;
            }
            _ => assert_eq!(nobody, 401, "nobody: {route}"),
        }
        if about == About::Credential {
            for (role, .., client) in &people {
                let got = call.status(client, false).await;
                let is_unknown = got == 404 && route.ends_with("/traces/{trace}");
                assert!(got == 200 || got == 422 || is_unknown, "{role}: {route}: {got}");
            }
            continue;
        }
        for (role, letters, in_project_only, client) in &people {
            let is_token = TOKENS.iter().any(|(scope, _)| scope == role);
            if about == About::Person {
                if is_token {
                    assert_eq!(call.status(client, false).await, 403, "token {role}: {route} is for people");
                    refused += i64::from(call.method != Method::GET);
                }
                continue;
            }
            let expected = match about {
                About::Sender if *role == "telemetry:write" => 200,
                About::Sender => 403,
                _ => table::status(letters, *in_project_only, right, about),
            };
            // What is refused is refused in earnest, and recorded; what is allowed is only tried.
            let got = call.status(client, expected == 200).await;
            // An answer without a body is as good.
            let got = if got == 204 { 200 } else { got };
            assert_eq!(got, expected, "{role}: {route} needs {right}");
            refused += i64::from(expected != 200 && call.method != Method::GET);
        }
        if !matches!(about, About::Person | About::Sender) {
            let theirs = refusal(call.with(&stranger, call.theirs(), false)).await;
            assert_eq!(theirs["status"], 404, "stranger: {route}");
            // The scope of this one stands in its body.
            if !route.ends_with("/role-assignments") {
                let nobodys = refusal(call.with(&stranger, (&call.of_nobody, "nobody"), false)).await;
                assert_eq!(theirs, nobodys, "{route}: what others have is as unknown as what nobody has");
            }
            refused += i64::from(call.method != Method::GET);
        }
    }
    assert_eq!(events(&app).await, before, "nothing was appended but what access leaves");
    let mut recorded = 0;
    app.wait_until("every refusal is in the audit trail", Duration::from_secs(100), async || {
        recorded = denials(&app).await - denied;
        recorded >= refused
    })
    .await;
    assert_eq!(recorded, refused, "and nothing else is");
}
