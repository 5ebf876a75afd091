//! Commands of the stock `mastra` command line.

use reqwest::Method;
use serde_json::json;
use tests::client::Client;
use tests::world::Project;

use super::{Case, case, text};

pub(super) async fn cases(owner: &Client, project: &Project) -> Vec<Case> {
    let below = format!("//v1/projects/{}/environments", project.id);
    let spare = json!({ "name": "Spare", "type": "preview" });
    let spare = owner.post(&below, spare).await.expect(201)["environment"]["id"].clone();
    let begun = owner.post(&format!("{below}/{}/deploy", project.production), json!({})).await.expect(201);
    let url = text(&begun["deploy"]["uploadUrl"]);
    let sent = reqwest::Client::new().put(url).body("a zip").send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let deploy = [
        ("project", project.id.clone()),
        ("environment", project.production.clone()),
        ("deploy", text(&begun["deploy"]["id"])),
    ];
    let of_spare = [("project", project.id.clone()), ("environment", text(&spare))];
    let (post, none) = (Method::POST, json!({}));
    let made = ["project.created", "project.environment_created"];
    let make = |route, name: &str| case(owner, Method::POST, route, &[], json!({ "name": name }), &made);
    vec![
        make("//v1/studio/projects", "Of the command line"),
        make("//v1/server/projects", "Another"),
        case(
            owner,
            Method::PUT,
            "//v1/server/projects/{project}/env",
            &deploy,
            json!({ "envVars": { "SHARED": "x", "KNOWN": "x" } }),
            &["project.env_var_set"],
        ),
        case(
            owner,
            post.clone(),
            "//v1/projects/{project}/environments",
            &deploy,
            json!({ "name": "Rehearsal", "type": "staging" }),
            &["project.environment_created"],
        ),
        case(
            owner,
            Method::DELETE,
            "//v1/projects/{project}/environments/{environment}",
            &of_spare,
            none.clone(),
            &["project.environment_deleted"],
        ),
        case(
            owner,
            post.clone(),
            "//v1/projects/{project}/environments/{environment}/restart",
            &deploy,
            none.clone(),
            &["deployment.requested"],
        ),
        case(
            owner,
            post.clone(),
            "//v1/projects/{project}/environments/{environment}/deploy",
            &deploy,
            none.clone(),
            &[],
        ),
        case(
            owner,
            post,
            "//v1/projects/{project}/environments/{environment}/deploys/{deploy}/upload-complete",
            &deploy,
            none,
            &["build.requested"],
        ),
    ]
}
