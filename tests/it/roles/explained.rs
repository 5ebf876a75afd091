//! Why somebody may do something, or might have; and who could.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::world::team_and_project;
use uuid::Uuid;

use super::{assign, id_of, in_project, only, permission, role, team_id};

async fn position(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap()
}

async fn check(by: &Client, body: Value) -> Value {
    by.post("/permissions/check", body).await.expect(200)
}

#[tokio::test]
async fn a_verdict_tells_the_assignment_the_way_the_condition_and_the_events() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let member = join(&app, &owner, "member@example.org", Some(("acme", "viewer"))).await;
    let (me, him) = (id_of(&owner).await, id_of(&member).await);
    let main = json!([{ "field": "branch", "operator": "eq", "value": "main" }]);
    let deploys = only("build", "execute", main.clone());
    let base = role(&owner, "Base", json!([permission("build", "read")]), json!([])).await;
    let top = role(&owner, "Top", json!([]), json!([base])).await;
    let before = position(&app).await;
    owner.patch(&format!("/roles/{base}"), json!({ "permissions": [deploys] })).await.expect(200);
    let renamed = json!({ "name": "Basis" });
    owner.patch(&format!("/roles/{base}"), renamed).await.expect(200);
    let given = assign(&owner, &member, &top, in_project(&project)).await.expect(201);

    let ask = |branch: &str| {
        json!({
            "userId": him, "resource": "build", "action": "execute",
            "context": { "projectId": project.id, "branch": branch },
        })
    };
    let yes = check(&owner, ask("main")).await;
    assert_eq!(yes["allowed"], true, "{yes}");
    let why = &yes["because"][0];
    assert_eq!(why["source"], json!({ "type": "assignment", "id": given["id"] }));
    assert_eq!((&why["role"], &why["through"]), (&json!(top), &json!([top, base])));
    assert_eq!(why["permission"], deploys_as_told(&main));
    let told: Vec<(&str, i64)> = why["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["type"].as_str().unwrap(), event["position"].as_i64().unwrap()))
        .collect();
    // Given by this; it inherits since it was made; and the base allows it since its first change, not its last.
    assert_eq!(
        told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        ["role.assigned", "role.created", "role.changed"]
    );
    assert_eq!(told[2].1, before + 1);
    for event in why["events"].as_array().unwrap() {
        assert_eq!(event["actor"], format!("user:{me}"));
        let known: i64 = sqlx::query_scalar("SELECT position FROM events WHERE event_id = $1::uuid")
            .bind(event["eventId"].as_str().unwrap())
            .fetch_one(app.db.pool())
            .await
            .unwrap();
        assert_eq!(event["position"], known);
    }

    let no = check(&owner, ask("next")).await;
    assert_eq!(no["allowed"], false);
    assert_eq!(no["because"][0]["missing"], json!({ "reason": "condition", "condition": main[0] }));
    assert_eq!(no["missing"]["action"], "execute");

    // As it was: before the change to the base, and before he had the role.
    let mut then = ask("main");
    then["asOf"] = before.to_string().into();
    let then = check(&owner, then).await;
    assert_eq!(
        (&then["allowed"], &then["because"], &then["asOf"]["position"]),
        (&json!(false), &json!([]), &json!(before))
    );
    let mut now = ask("main");
    now["asOf"] = position(&app).await.to_string().into();
    assert_eq!(check(&owner, now).await["because"], yes["because"]);

    // By membership.
    let mine =
        json!({ "resource": "team", "action": "delete", "context": { "teamId": team_id(&owner).await } });
    let mine = check(&owner, mine).await;
    assert_eq!(mine["because"][0]["source"]["type"], "membership");
    assert_eq!(mine["because"][0]["events"][0]["type"], "team.created");
}

fn deploys_as_told(conditions: &Value) -> Value {
    json!({ "resource": "build", "action": "execute", "conditions": conditions })
}

#[tokio::test]
async fn about_others_only_auditors_ask_and_strangers_learn_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let (acme, me) = (team_id(&owner).await, id_of(&owner).await);
    let about = |user: &str, context: Value| json!({ "userId": user, "resource": "build", "action": "read", "context": context });
    let ask = async |by: &Client, body: Value| {
        let answer = by.post("/permissions/check", body).await;
        let mut problem = answer.body.clone();
        problem.as_object_mut().unwrap().remove("requestId");
        (answer.status, problem)
    };
    assert_eq!(ask(&viewer, about(&me, json!({ "teamId": acme }))).await.0, 403);
    let foreign = ask(&stranger, about(&me, json!({ "teamId": acme }))).await;
    let unknown = ask(&stranger, about(&me, json!({ "teamId": Uuid::now_v7() }))).await;
    assert_eq!((foreign.0, &foreign.1), (404, &unknown.1));
    let foreign = ask(&stranger, about(&me, json!({ "projectId": project.id }))).await;
    let unknown = ask(&stranger, about(&me, json!({ "projectId": Uuid::now_v7() }))).await;
    assert_eq!((foreign.0, &foreign.1), (404, &unknown.1));

    // Of himself everybody learns the verdict; who gave it only who may see the team's people.
    let own = |context: Value| json!({ "resource": "build", "action": "read", "context": context });
    let foreign = ask(&stranger, own(json!({ "projectId": project.id }))).await;
    assert_eq!((foreign.0, &foreign.1["allowed"], &foreign.1["because"]), (200, &json!(false), &json!([])));
    assert!(ask(&viewer, own(json!({ "teamId": acme }))).await.1["because"][0]["events"].is_array());
    let then = json!({ "resource": "build", "action": "read", "context": { "teamId": acme }, "asOf": "1" });
    assert_eq!(ask(&stranger, then).await.0, 404);

    // Of a member nothing is told that he holds elsewhere.
    viewer.post("/teams", json!({ "name": "Own", "slug": "own" })).await.expect(201);
    let told = check(&owner, about(&id_of(&viewer).await, json!({ "teamId": acme }))).await;
    assert_eq!(told["because"].as_array().unwrap().len(), 1, "{told}");
}

#[tokio::test]
async fn a_review_tells_who_could_and_can_be_opened_in_a_spreadsheet() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let developer = join(&app, &owner, "developer@example.org", Some(("acme", "developer"))).await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    developer.patch("/me", json!({ "firstName": "=HYPERLINK(\"x\")" })).await.expect(200);
    let main = json!([{ "field": "branch", "operator": "eq", "value": "main" }]);
    let careful = role(&owner, "@Careful", json!([only("build", "execute", main)]), json!([])).await;
    assign(&owner, &viewer, &careful, in_project(&project)).await.expect(201);
    let tokens = format!("/projects/{}/tokens", project.id);
    owner.post(&tokens, json!({ "name": "-ci", "scopes": ["deploy"] })).await.expect(201);
    owner.post(&tokens, json!({ "name": "reader", "scopes": ["read"] })).await.expect(201);
    let full = position(&app).await;
    owner.delete(&format!("/teams/acme/members/{}", id_of(&developer).await)).await.expect(200);

    let path = format!("/teams/acme/access-review?resource=build&action=execute&projectId={}", project.id);
    let who = |review: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = review["items"].as_array().unwrap();
        let name = |item: &Value| {
            if item["email"].is_null() { text(&item["firstName"]) } else { text(&item["email"]) }
        };
        let mut who: Vec<_> = items.iter().map(|item| (name(item), text(&item["verdict"]))).collect();
        who.sort();
        who
    };
    let pair = |name: &str, verdict: &str| (name.to_owned(), verdict.to_owned());
    let now = owner.get(&path).await.expect(200);
    let (ci, boss) = (pair("-ci", "allowed"), pair(tests::app::OWNER, "allowed"));
    let mut expected = vec![ci.clone(), boss.clone(), pair("viewer@example.org", "conditional")];
    expected.sort();
    assert_eq!(who(&now), expected, "{now}");
    let mut expected =
        vec![ci, boss, pair("developer@example.org", "allowed"), pair("viewer@example.org", "conditional")];
    expected.sort();
    let then = owner.get(&format!("{path}&asOf={full}")).await.expect(200);
    assert_eq!(who(&then), expected, "as it was");
    let on_main = owner.get(&format!("{path}&branch=main")).await.expect(200);
    assert!(who(&on_main).contains(&pair("viewer@example.org", "allowed")));

    let csv = owner.get(&format!("{path}&asOf={full}&format=csv")).await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert!(csv.text.contains(",'-ci,"), "{}", csv.text);
    assert!(csv.text.contains("\"'=HYPERLINK(\"\"x\"\")\""), "{}", csv.text);
    for line in csv.text.lines().skip(1) {
        for cell in line.split(',') {
            assert!(!cell.starts_with(['=', '+', '-', '@']), "{line}");
        }
    }
    let viewer_asks = viewer.get(&path).await;
    assert_eq!(viewer_asks.status, 403);
    let foreign =
        format!("/teams/acme/access-review?resource=build&action=execute&projectId={}", Uuid::now_v7());
    assert_eq!(owner.get(&foreign).await.status, 404);
}
