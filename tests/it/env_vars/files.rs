//! Variables as `.env` files, from one environment to another, and names that are refused.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::{Project, team_and_project};

use crate::dry_run::cases::with_body;

async fn import(client: &Client, project: &Project, query: &str, file: &str) -> Answer {
    let path = format!("/projects/{}/env-vars/import{query}", project.id);
    Client::send(with_body(client.request(Method::POST, &path), &json!(file))).await
}

async fn export(client: &Client, project: &Project, query: &str) -> Answer {
    client.get(&format!("/projects/{}/env-vars/export{query}", project.id)).await
}

async fn staging(client: &Client, project: &Project) -> String {
    let body = json!({ "name": "Staging", "type": "staging" });
    let made = client.post(&format!("/projects/{}/environments", project.id), body).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

/// Names and values, or fingerprints of them when they are not shown.
async fn shown(client: &Client, project: &Project, query: &str, field: &str) -> Vec<(String, Value)> {
    let list = client.get(&format!("/projects/{}/env-vars{query}", project.id)).await.expect(200);
    let items = list["items"].as_array().unwrap();
    items.iter().map(|one| (one["key"].as_str().unwrap().to_owned(), one[field].clone())).collect()
}

#[tokio::test]
async fn a_file_is_imported_as_a_whole_and_says_what_it_changed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let file = "\u{feff}# first\r\nexport A=1\r\nB='two\r\nlines' # so\r\nC=\"q\\\"\\n$X\"\r\nA=last\r\n";
    let counts = import(&owner, &project, "", file).await.expect(200);
    assert_eq!(counts, json!({ "added": 3, "changed": 0, "unchanged": 0, "removed": 0 }));
    let values = shown(&owner, &project, "?reveal=true", "value").await;
    let expected = [("A", "last"), ("B", "two\nlines"), ("C", "q\"\n$X")];
    assert_eq!(values, expected.map(|(key, value)| (key.to_owned(), json!(value))));

    let dry = import(&owner, &project, "?dryRun=true&replace=true", "A=last\nB=3\nD=4").await.expect(200);
    let types: Vec<_> = dry["events"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["project.env_var_deleted", "project.env_var_set", "project.env_var_set"]);
    let counts =
        import(&owner, &project, "?replace=true&sensitive=true", "A=last\nB=3\nD=4").await.expect(200);
    assert_eq!(counts, json!({ "added": 1, "changed": 2, "unchanged": 0, "removed": 1 }));
    let counts = import(&owner, &project, "", "A=last\nB=4").await.expect(200);
    assert_eq!(counts, json!({ "added": 0, "changed": 1, "unchanged": 1, "removed": 0 }));
    let sensitive = shown(&owner, &project, "", "sensitive").await;
    assert!(sensitive.iter().all(|(_, is)| *is == json!(true)), "what is sensitive stays so: {sensitive:?}");
}

#[tokio::test]
async fn one_bad_line_refuses_the_file_and_is_named() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let refused = import(&owner, &project, "", "GOOD=1\nnonsense\nC=s3cret#x\nD='s3cret").await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let fields: Vec<_> = refused.body["errors"].as_array().unwrap().iter().map(|it| &it["field"]).collect();
    assert_eq!(fields, ["line 2", "C", "D"]);
    assert!(
        refused.body["errors"][1]["message"].as_str().unwrap().starts_with("line 3 "),
        "{}",
        refused.text
    );
    assert!(!refused.text.contains("s3cret"), "an error shows no value: {}", refused.text);

    let long = format!("LONG={}", "x".repeat(32 * 1024 + 1));
    for (query, file, field, code) in [
        ("", "A=1\nPATH=/evil\n", "PATH", "reserved"),
        ("?availability=build", "A=1\nNODE_OPTIONS=--inspect\n", "NODE_OPTIONS", "not_at_build"),
        ("", "A=1\nNUL='\0'\n", "NUL", "invalid"),
        ("", &long, "LONG", "too_large"),
        ("?availability=never", "A=1", "availability", "invalid"),
        ("?environment=00000000-0000-7000-8000-000000000000", "A=1", "environment", "unknown_environment"),
    ] {
        let refused = import(&owner, &project, query, file).await;
        assert_eq!(refused.status, 422, "{query} {field}: {}", refused.text);
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.text);
        assert_eq!(refused.body["errors"][0]["code"], code, "{}", refused.text);
    }
    let many: String = (0..501).map(|n| format!("K{n}=1\n")).collect();
    assert_eq!(import(&owner, &project, "", &many).await.body["code"], "too_many");
    let path = format!("/projects/{}/env-vars/import", project.id);
    assert_eq!(owner.post(&path, json!({ "A": "1" })).await.status, 415);
    let no_text = owner.request(Method::POST, &path).header("content-type", "text/plain").body(vec![0xff]);
    assert_eq!(Client::send(no_text).await.status, 400);
    assert_eq!(shown(&owner, &project, "", "key").await, [], "all or nothing");
}

#[tokio::test]
async fn what_is_exported_imports_to_the_same_values_and_is_audited() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let staging = staging(&owner, &project).await;
    let set = |key: &str, body: Value| {
        let path = format!("/projects/{}/env-vars/{key}", project.id);
        let owner = owner.clone();
        async move { owner.put(&path, body).await.expect(200) }
    };
    let odd = "'`\"\\ $HOME \r\n\t# Ünï";
    set("ODD", json!({ "value": odd })).await;
    set("BOTH", json!({ "value": "of all" })).await;
    set("BOTH", json!({ "value": "of staging", "environment": staging })).await;
    let file = export(&owner, &project, &format!("?environment={staging}")).await;
    assert_eq!(file.status, 200, "{}", file.text);
    assert!(file.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert!(file.text.contains("BOTH='of staging'"), "its own come first: {}", file.text);
    assert!(export(&owner, &project, "").await.text.contains("BOTH='of all'"));
    let counts = import(&owner, &project, &format!("?environment={staging}"), &file.text).await.expect(200);
    assert_eq!(counts, json!({ "added": 1, "changed": 0, "unchanged": 1, "removed": 0 }));
    let values = shown(&owner, &project, &format!("?environment={staging}&reveal=true"), "value").await;
    assert_eq!(values.iter().filter(|(key, value)| key == "ODD" && value == odd).count(), 2, "{values:?}");

    app.settle().await;
    let audit = owner.get("/teams/acme/audit?action=project.env_vars_revealed").await.expect(200);
    assert_eq!(audit["items"].as_array().unwrap().len(), 3, "each look is recorded: {audit}");
    set("SECRET", json!({ "value": "hidden", "sensitive": true })).await;
    let refused = export(&owner, &project, "").await;
    assert_eq!(refused.status, 403, "as a reveal: {}", refused.text);
    assert!(!refused.text.contains("hidden"));
}

#[tokio::test]
async fn variables_are_promoted_between_environments_without_being_shown() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let staging = staging(&owner, &project).await;
    let from = format!("?environment={staging}&sensitive=true");
    import(&owner, &project, &from, "A=1\nB=2\nC=3").await.expect(200);
    import(&owner, &project, &format!("?environment={}", project.production), "A=1\nB=old").await.expect(200);
    let path = format!("/environments/{}/env-vars/promote", project.production);

    let dry = owner.post(&format!("{path}?dryRun=true"), json!({ "from": staging })).await.expect(200);
    assert_eq!(dry["events"].as_array().unwrap().len(), 3, "A becomes sensitive: {dry}");
    assert!(dry["events"][1]["payload"]["old"]["mark"].is_string(), "{dry}");
    let one = owner.post(&path, json!({ "from": staging, "keys": ["C"] })).await.expect(200);
    assert_eq!(one, json!({ "added": 1, "changed": 0, "unchanged": 0, "removed": 0 }));
    let all = owner.post(&path, json!({ "from": staging })).await.expect(200);
    assert_eq!(all, json!({ "added": 0, "changed": 2, "unchanged": 1, "removed": 0 }));
    let here = format!("?environment={}", project.production);
    let there = format!("?environment={staging}");
    let marks = shown(&owner, &project, &here, "fingerprint").await;
    assert_eq!(marks, shown(&owner, &project, &there, "fingerprint").await, "the same values");
    assert!(shown(&owner, &project, &here, "sensitive").await.iter().all(|(_, is)| *is == json!(true)));
    app.settle().await;
    let audit = owner.get("/teams/acme/audit?action=project.env_vars_revealed").await.expect(200);
    assert_eq!(audit["items"], json!([]), "nobody has seen a value");

    for (body, field) in [
        (json!({ "from": project.production }), "from"),
        (json!({ "from": "00000000-0000-7000-8000-000000000000" }), "from"),
        (json!({ "from": staging, "keys": ["A", "NONE"] }), "keys[1]"),
    ] {
        let refused = owner.post(&path, body).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["field"]),
            (422, &json!(field)),
            "{}",
            refused.text
        );
    }
}

#[tokio::test]
async fn who_may_set_variables_in_one_environment_alone_promotes_none_of_another() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let staging = staging(&owner, &project).await;
    import(&owner, &project, &format!("?environment={}", project.production), "A=1").await.expect(200);
    let only = |action: &str| {
        json!({ "resource": "project.env_vars", "action": action,
                "conditions": [{ "field": "environment", "operator": "eq", "value": staging }] })
    };
    let role = json!({ "name": "Staging", "permissions": [
        { "resource": "project", "action": "read" }, { "resource": "project.env_vars", "action": "read" }, only("update") ] });
    let role = owner.post("/teams/acme/roles", role).await;
    assert_eq!(role.status, 201, "{}", role.text);
    let someone = join(&app, &owner, "someone@example.org", Some(("acme", "viewer"))).await;
    let id = someone.get("/me").await.expect(200)["id"].clone();
    let scope = json!({ "type": "project", "projectId": project.id });
    let given = json!({ "userId": id, "roleId": role.body["id"], "scope": scope });
    owner.post("/role-assignments", given).await.expect(201);
    app.settle().await;
    let path = format!("/environments/{staging}/env-vars/promote");
    let refused = someone.post(&path, json!({ "from": project.production })).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let into = format!("/environments/{}/env-vars/promote", project.production);
    assert_eq!(someone.post(&into, json!({ "from": staging })).await.status, 403);
    owner.post(&path, json!({ "from": project.production })).await.expect(200);
}

#[tokio::test]
async fn who_may_read_all_but_one_environment_sees_no_value_of_that_one() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let staging = staging(&owner, &project).await;
    for environment in [&staging, &project.production] {
        import(&owner, &project, &format!("?environment={environment}"), "A=1").await.expect(200);
    }
    let but_production = json!([{ "field": "environment", "operator": "neq", "value": project.production }]);
    let reads = json!({ "resource": "project.env_vars", "action": "read", "conditions": but_production });
    let role = json!({ "name": "All but production", "permissions": [reads] });
    let role = owner.post("/teams/acme/roles", role).await.expect(201);
    let someone = join(&app, &owner, "someone@example.org", Some(("acme", "viewer"))).await;
    let id = someone.get("/me").await.expect(200)["id"].clone();
    let scope = json!({ "type": "project", "projectId": project.id });
    let given = json!({ "userId": id, "roleId": role["id"], "scope": scope });
    owner.post("/role-assignments", given).await.expect(201);
    app.settle().await;
    for (environment, status) in [(&staging, 200), (&project.production, 403)] {
        let place = format!("?environment={environment}");
        let exported = export(&someone, &project, &place).await;
        assert_eq!(exported.status, status, "{}", exported.text);
        let revealed = format!("/projects/{}/env-vars{place}&reveal=true", project.id);
        assert_eq!(someone.get(&revealed).await.status, status);
    }
    // Names are of the environments too.
    for path in ["env-vars", "env-vars/history"] {
        let list = someone.get(&format!("/projects/{}/{path}", project.id)).await.expect(200);
        let places: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|one| &one["environment"]).collect();
        assert_eq!(places, [&json!(staging)], "{path}");
    }
    // Without an environment it is about all of them.
    let all = format!("/projects/{}/env-vars?reveal=true", project.id);
    assert_eq!(someone.get(&all).await.status, 403);
}

#[tokio::test]
async fn names_that_would_take_over_a_process_are_refused_with_the_reason() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let set = async |key: &str, availability: &str| {
        let path = format!("/projects/{}/env-vars/{key}", project.id);
        owner.put(&path, json!({ "value": "1", "availability": availability })).await
    };
    for key in ["LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "HOME", "BASH_ENV", "MASTRA_PROJECT_ID", "PORT"] {
        let refused = set(key, "runtime").await;
        let error = &refused.body["errors"][0];
        assert_eq!((refused.status, &error["field"]), (422, &json!("key")), "{key}: {}", refused.text);
        assert!(error["message"].as_str().unwrap().starts_with(&format!("{key} cannot be set: ")), "{error}");
    }
    for key in ["NODE_OPTIONS", "GIT_SSH_COMMAND", "npm_config_registry", "HTTPS_PROXY"] {
        for availability in ["build", "both"] {
            let refused = set(key, availability).await;
            let field = &refused.body["errors"][0]["field"];
            assert_eq!((refused.status, field), (422, &json!("availability")), "{key}: {}", refused.text);
        }
        set(key, "runtime").await.expect(200);
    }
}
