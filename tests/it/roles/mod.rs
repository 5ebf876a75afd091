//! Custom roles, who has them, and what both come to.

mod explained;
mod streams;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::{Project, team, team_and_project};
use uuid::Uuid;

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned()
}

fn problem(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

/// What a refused field is refused for.
fn field(answer: &Answer) -> (u16, &str, &str) {
    let error = &answer.body["errors"][0];
    (answer.status, error["field"].as_str().unwrap_or_default(), error["code"].as_str().unwrap_or_default())
}

fn permission(resource: &str, action: &str) -> Value {
    json!({ "resource": resource, "action": action })
}

fn only(resource: &str, action: &str, conditions: Value) -> Value {
    json!({ "resource": resource, "action": action, "conditions": conditions })
}

/// Makes a role in the team `acme`; answers its id.
async fn role(owner: &Client, name: &str, permissions: Value, inherits: Value) -> String {
    let body = json!({ "name": name, "permissions": permissions, "inherits": inherits });
    owner.post("/teams/acme/roles", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn team_id(client: &Client) -> String {
    client.get("/teams/acme").await.expect(200)["id"].as_str().unwrap().to_owned()
}

async fn assign(by: &Client, user: &Client, role: &str, scope: Value) -> Answer {
    by.post("/role-assignments", json!({ "userId": id_of(user).await, "roleId": role, "scope": scope })).await
}

fn in_project(project: &Project) -> Value {
    json!({ "type": "project", "projectId": project.id })
}

async fn events(app: &TestApp, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_role_is_made_given_changed_and_ended_and_each_counts_from_the_next_request_on() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let path = format!("/projects/{}", project.id);
    let rename = async || viewer.patch(&path, json!({ "name": "Mine" })).await.status;
    assert_eq!(rename().await, 403);

    let base = role(&owner, "Base", json!([permission("project", "update")]), json!([])).await;
    let top = role(&owner, "Top", json!([]), json!([base, "project:viewer"])).await;
    let given = assign(&owner, &viewer, &top, in_project(&project)).await.expect(201);
    assert_eq!(rename().await, 200, "by inheritance");

    let again = assign(&owner, &viewer, &top, in_project(&project)).await.expect(201);
    assert_eq!(again["id"], given["id"]);
    assert_eq!(events(&app, "role.assigned").await, 1, "twice is once");
    let listed = owner.get(&format!("/role-assignments?projectId={}", project.id)).await.expect(200);
    assert_eq!(listed["items"], json!([given]));

    let nothing = json!({ "permissions": [permission("build", "read")] });
    owner.patch(&format!("/roles/{base}"), nothing).await.expect(200);
    assert_eq!(rename().await, 403);
    let something = json!({ "permissions": [permission("project", "update")] });
    owner.patch(&format!("/roles/{base}"), something).await.expect(200);
    assert_eq!(rename().await, 200);

    assert_eq!(problem(&owner.delete(&format!("/roles/{base}")).await), (409, "role_inherited"));
    owner.delete(&format!("/roles/{top}")).await.expect(200);
    assert_eq!(rename().await, 403, "who had it has it no longer");
    owner.delete(&format!("/roles/{base}")).await.expect(200);
    assert_eq!(owner.get("/teams/acme/roles").await.expect(200)["items"], json!([]));
    assert_eq!(owner.delete(&format!("/roles/{base}")).await.status, 404);

    // Built-in roles can be given, too, and taken back.
    let given = assign(&owner, &viewer, "project:admin", in_project(&project)).await.expect(201);
    assert_eq!(rename().await, 200);
    let given = format!("/role-assignments/{}", given["id"].as_str().unwrap());
    owner.delete(&given).await.expect(200);
    assert_eq!(rename().await, 403);
    assert_eq!(owner.delete(&given).await.status, 404);
}

#[tokio::test]
async fn a_scope_with_a_field_too_many_is_no_wider_scope() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let id = team_id(&owner).await;
    for (scope, odd) in [
        (json!({ "type": "global", "teamId": id }), "scope.teamId"),
        (json!({ "type": "team", "teamId": id, "projectId": Uuid::nil() }), "scope.projectId"),
    ] {
        let refused = assign(&owner, &viewer, "project:viewer", scope).await;
        assert_eq!(field(&refused), (422, odd, "unknown_field"), "{}", refused.text);
    }
    assert_eq!(events(&app, "role.assigned").await, 0);
}

#[tokio::test]
async fn what_no_role_may_be_is_refused_when_it_is_written() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    team(&owner, "other").await;
    let foreign = json!({ "name": "Foreign", "permissions": [permission("build", "read")] });
    let foreign = owner.post("/teams/other/roles", foreign).await.expect(201)["id"].clone();
    let make = async |body: Value| owner.post("/teams/acme/roles", body).await;
    let from = |parents: Value| json!({ "name": "x", "inherits": parents });

    let unknown = make(from(json!([Uuid::now_v7()]))).await;
    assert_eq!(field(&unknown), (422, "inherits", "unknown_role"));
    let of_others = make(from(json!([foreign]))).await;
    assert_eq!(field(&of_others), (422, "inherits", "unknown_role"));
    assert_eq!(field(&make(from(json!(["team:nobody"]))).await), (422, "inherits", "unknown_role"));

    let a = role(&owner, "a", json!([]), json!([])).await;
    let b = role(&owner, "b", json!([]), json!([a])).await;
    let circle = owner.patch(&format!("/roles/{a}"), json!({ "inherits": [b] })).await;
    assert_eq!(field(&circle), (422, "inherits", "cycle"));
    let own = owner.patch(&format!("/roles/{a}"), json!({ "inherits": [a] })).await;
    assert_eq!(field(&own), (422, "inherits", "cycle"));

    let mut below = b;
    for n in 3..=8 {
        below = role(&owner, &n.to_string(), json!([]), json!([below])).await;
    }
    assert_eq!(field(&make(from(json!([below]))).await), (422, "inherits", "too_deep"));

    let odd =
        |condition: Value| json!({ "name": "x", "permissions": [only("build", "read", json!([condition]))] });
    for condition in [
        json!({ "field": "colour", "operator": "eq", "value": "red" }),
        json!({ "field": "branch", "operator": "eq", "value": ["main"] }),
        json!({ "field": "branch", "operator": "in", "value": "main" }),
        json!({ "field": "branch", "operator": "exists", "value": "yes" }),
    ] {
        let refused = make(odd(condition)).await;
        assert_eq!(field(&refused), (422, "permissions", "invalid"), "{}", refused.text);
    }
    assert_eq!(make(odd(json!({ "field": "branch", "operator": "like", "value": "m" }))).await.status, 422);
    assert_eq!(make(json!({ "name": "x", "permissions": [permission("moon", "read")] })).await.status, 422);

    let scope = json!({ "type": "team", "teamId": team_id(&owner).await });
    let unknown = json!({ "userId": id_of(&owner).await, "roleId": Uuid::now_v7(), "scope": scope });
    let unknown = owner.post("/role-assignments", unknown).await;
    assert_eq!(field(&unknown), (422, "roleId", "unknown_role"));
    let of_others = json!({ "userId": id_of(&owner).await, "roleId": foreign, "scope": scope });
    let of_others = owner.post("/role-assignments", of_others).await;
    assert_eq!(of_others.body["errors"], unknown.body["errors"]);
}

#[tokio::test]
async fn two_changes_that_only_together_make_a_circle_are_never_both_taken() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    for round in 0..6 {
        let mut ring = vec![];
        for n in 0..4 {
            ring.push(role(&owner, &format!("{round}-{n}"), json!([]), json!([])).await);
        }
        // Each inherits from the next: all four together would be a circle, any three are not.
        let changes = (0..4).map(|n| {
            let next = json!({ "inherits": [ring[(n + 1) % 4]] });
            let path = format!("/roles/{}", ring[n]);
            let owner = &owner;
            async move { owner.patch(&path, next).await }
        });
        let answers = join_all(changes).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 422], "{answers:?}");
    }
    let twice: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT (payload -> 'revision')::text FROM events WHERE aggregate_type = 'role'
          GROUP BY 1 HAVING count(*) > 1) r",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    assert_eq!(twice, 0, "each change has a number of its own");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of ways to get more, one after the other")]
async fn nobody_gives_away_more_than_he_holds() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let scope = json!({ "type": "team", "teamId": team_id(&owner).await });
    let make = async |by: &Client, permissions: Value, inherits: Value| {
        by.post("/teams/acme/roles", json!({ "name": "x", "permissions": permissions, "inherits": inherits }))
            .await
    };
    let not_held = (403, "not_held");

    // An admin cannot delete the team: neither by a role, nor by one that inherits it, nor by stars.
    assert_eq!(problem(&make(&admin, json!([permission("team", "delete")]), json!([])).await), not_held);
    assert_eq!(problem(&make(&admin, json!([]), json!(["team:owner"])).await), not_held);
    assert_eq!(problem(&make(&admin, json!([permission("*", "*")]), json!([])).await), not_held);
    assert_eq!(
        problem(&make(&owner, json!([permission("project.env_vars", "manage")]), json!([])).await),
        not_held
    );
    let strong = role(&owner, "Strong", json!([permission("team", "delete")]), json!([])).await;
    assert_eq!(problem(&make(&admin, json!([]), json!([strong])).await), not_held);
    assert_eq!(problem(&assign(&admin, &admin, &strong, scope.clone()).await), not_held);
    assert_eq!(problem(&assign(&admin, &viewer, "team:owner", scope.clone()).await), not_held);
    assert_eq!(
        problem(&assign(&admin, &viewer, "team:owner", json!({ "type": "global" })).await),
        (403, "forbidden")
    );

    // Nor does he touch what is above him: neither up, nor down, nor away.
    let path = format!("/roles/{strong}");
    assert_eq!(problem(&admin.patch(&path, json!({ "name": "Weak" })).await), not_held);
    assert_eq!(problem(&admin.patch(&path, json!({ "permissions": [] })).await), not_held);
    assert_eq!(problem(&admin.delete(&path).await), not_held);
    let given = assign(&owner, &viewer, &strong, scope.clone()).await.expect(201);
    let given = format!("/role-assignments/{}", given["id"].as_str().unwrap());
    assert_eq!(problem(&admin.delete(&given).await), not_held);

    // Nor through a role that he himself, or another, has already.
    let own = role(&admin, "Own", json!([permission("team", "update")]), json!([])).await;
    assign(&admin, &admin, &own, scope.clone()).await.expect(201);
    let path = format!("/roles/{own}");
    assert_eq!(
        problem(&admin.patch(&path, json!({ "permissions": [permission("team", "delete")] })).await),
        not_held
    );
    assert_eq!(problem(&admin.patch(&path, json!({ "inherits": ["team:owner"] })).await), not_held);
    assert_eq!(admin.delete("/teams/acme").await.status, 403);

    // What is held under a condition is given under that condition, or a narrower one, and not without.
    let (main, list) =
        (json!([{ "field": "branch", "operator": "in", "value": ["main", "next"] }]), json!([]));
    let keeper = json!([
        only("project", "update", main.clone()),
        permission("team", "read"),
        permission("project", "read"),
        permission("team.members", "*"),
    ]);
    assert_eq!(
        problem(&make(&owner, keeper.clone(), list.clone()).await),
        not_held,
        "a star is above an owner"
    );
    let members = ["create", "read", "update", "delete"].map(|action| permission("team.members", action));
    let mut keeper = vec![only("project", "update", main.clone()), permission("team", "read")];
    keeper.extend(members);
    let keeper = role(&owner, "Keeper", json!(keeper), json!([])).await;
    assign(&owner, &viewer, &keeper, scope.clone()).await.expect(201);
    owner.delete(&given).await.expect(200);
    assert_eq!(problem(&make(&viewer, json!([permission("project", "update")]), json!([])).await), not_held);
    let wider = json!([{ "field": "branch", "operator": "neq", "value": "old" }]);
    assert_eq!(problem(&make(&viewer, json!([only("project", "update", wider)]), json!([])).await), not_held);
    let narrower = json!([{ "field": "branch", "operator": "eq", "value": "main" }]);
    make(&viewer, json!([only("project", "update", narrower)]), json!([])).await.expect(201);

    // What is held in one project is not held in the team.
    let guest = join(&app, &owner, "guest@example.org", Some(("acme", "viewer"))).await;
    assign(&owner, &guest, "project:admin", in_project(&project)).await.expect(201);
    let members = json!([permission("team.members", "create"), permission("team.members", "read")]);
    let hirer = role(&owner, "Hirer", members, json!([])).await;
    assign(&owner, &guest, &hirer, scope.clone()).await.expect(201);
    assert_eq!(problem(&make(&guest, json!([permission("build", "execute")]), json!([])).await), not_held);
    assert_eq!(problem(&assign(&guest, &viewer, "project:deployer", scope).await), not_held);
    assign(&guest, &viewer, "project:deployer", in_project(&project)).await.expect(201);
}

#[tokio::test]
async fn a_condition_on_an_environment_holds_for_everything_that_reaches_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let staging = json!({ "name": "staging", "type": "staging", "branch": "main" });
    let staging = owner.post(&format!("/projects/{}/environments", project.id), staging).await.expect(201);
    let staging = staging["id"].as_str().unwrap();
    let careful = join(&app, &owner, "careful@example.org", Some(("acme", "viewer"))).await;
    let not_production = json!([{ "field": "environment", "operator": "neq", "value": project.production }]);
    let mut permissions = vec![];
    for (resource, action) in [
        ("build", "create"),
        ("build", "execute"),
        ("project.env_vars", "update"),
        ("project.env_vars", "delete"),
    ] {
        permissions.push(only(resource, action, not_production.clone()));
    }
    let role = role(&owner, "Careful", json!(permissions), json!([])).await;
    assign(&owner, &careful, &role, in_project(&project)).await.expect(201);

    let dry = async |method: Method, path: &str, body: Value| {
        Client::send(careful.request(method, &format!("{path}?dryRun=true")).json(&body)).await.status
    };
    let builds = format!("/projects/{}/builds", project.id);
    assert_eq!(dry(Method::POST, &builds, json!({ "environment": staging })).await, 200);
    assert_eq!(dry(Method::POST, &builds, json!({ "environment": project.production })).await, 403);
    assert_eq!(dry(Method::POST, &builds, json!({})).await, 403, "production is meant when nothing is said");
    let variable = format!("/projects/{}/env-vars/A", project.id);
    assert_eq!(dry(Method::PUT, &variable, json!({ "value": "1", "environment": staging })).await, 200);
    assert_eq!(
        dry(Method::PUT, &variable, json!({ "value": "1", "environment": project.production })).await,
        403
    );
    assert_eq!(
        dry(Method::PUT, &variable, json!({ "value": "1" })).await,
        403,
        "it would reach all environments"
    );
    let roll_back = format!("/environments/{}/rollback", project.production);
    assert_eq!(dry(Method::POST, &roll_back, json!({})).await, 403);
}

#[tokio::test]
async fn roles_are_given_to_members_alone_and_end_with_the_membership() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let foreign = assign(&owner, &stranger, "project:viewer", in_project(&project)).await;
    assert_eq!(field(&foreign), (422, "userId", "no_member"));
    let body = json!({ "userId": Uuid::now_v7(), "roleId": "project:viewer", "scope": in_project(&project) });
    let unknown = owner.post("/role-assignments", body).await;
    assert_eq!(
        unknown.body["errors"], foreign.body["errors"],
        "unknown and foreign people are told apart by nobody"
    );

    let member = join(&app, &owner, "member@example.org", Some(("acme", "viewer"))).await;
    let path = format!("/projects/{}", project.id);
    let rename = async || member.patch(&path, json!({ "name": "Mine" })).await.status;
    assign(&owner, &member, "project:admin", in_project(&project)).await.expect(201);
    assert_eq!(rename().await, 200);
    owner.delete(&format!("/teams/acme/members/{}", id_of(&member).await)).await.expect(200);
    assert_eq!(rename().await, 404);
    assert_eq!(
        owner.get(&format!("/role-assignments?projectId={}", project.id)).await.expect(200)["items"],
        json!([])
    );
}
