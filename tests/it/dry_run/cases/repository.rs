//! Commands about what opens a repository, and about who tells of pushes to it.

use reqwest::Method;
use serde_json::json;
use tests::client::Client;
use tests::world::Project;

use super::{Case, case, text};

/// The public key of a server.
const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0N+mryEhIC04k5CDU1+j+FR1aAIWLbyL3CNHr20O86";

pub(super) async fn cases(owner: &Client, project: &Project) -> Vec<Case> {
    let below = format!("/projects/{}", project.id);
    let token = |token: &str| json!({ "host": "git.example.org", "username": "ci", "token": token });
    owner.put(&format!("{below}/repository/token"), token("known")).await.expect(200);
    owner.post(&format!("{below}/repository/deploy-key"), json!({})).await.expect(200);
    let hook = owner.post(&format!("{below}/push-hooks"), json!({ "name": "known" })).await.expect(201);
    let ids = [("project", project.id.clone()), ("hook", text(&hook["hook"]["id"]))];
    let pin = json!({ "host": "git.example.org:2222", "hostKeys": [HOST_KEY] });
    let of = |method: Method, route, body, event| case(owner, method, route, &ids, body, &[event]);
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let none = || json!({});
    let (set, removed) = ("project.repository_token_set", "project.repository_token_removed");
    let (made, forgotten) = ("project.deploy_key_made", "project.deploy_key_removed");
    let (rotated, ended) = ("project.push_hook_rotated", "project.push_hook_deleted");
    vec![
        of(put.clone(), "/projects/{project}/repository/token", token("new"), set),
        of(delete.clone(), "/projects/{project}/repository/token", none(), removed),
        of(post.clone(), "/projects/{project}/repository/deploy-key", none(), made),
        of(delete.clone(), "/projects/{project}/repository/deploy-key", none(), forgotten),
        of(put, "/projects/{project}/repository/host-keys", pin, "project.host_keys_pinned"),
        of(
            post.clone(),
            "/projects/{project}/push-hooks",
            json!({ "name": "new" }),
            "project.push_hook_created",
        ),
        of(post, "/projects/{project}/push-hooks/{hook}/rotate", none(), rotated),
        of(delete, "/projects/{project}/push-hooks/{hook}", none(), ended),
    ]
}
