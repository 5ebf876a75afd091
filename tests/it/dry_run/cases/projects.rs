//! Commands about projects, their environments, variables and tokens.

use reqwest::Method;
use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::github::waiting_preview;
use tests::world::Project;

use super::{Case, case, text};

#[expect(clippy::too_many_lines, reason = "a table: one entry a command")]
pub(super) async fn cases(app: &TestApp, owner: &Client, project: &Project) -> Vec<Case> {
    let id = &project.id;
    // A project without a value has no key yet: a dry run makes none.
    let bare = owner
        .post(
            "/teams/acme/projects",
            json!({ "name": "b", "slug": "bare", "repoUrl": app.repository("tiny", "bare") }),
        )
        .await
        .expect(201);
    owner.put(&format!("/projects/{id}/env-vars/KNOWN"), json!({ "value": "x" })).await.expect(200);
    let of_production = json!({ "value": "x", "environment": project.production });
    owner.put(&format!("/projects/{id}/env-vars/PROMOTED"), of_production).await.expect(200);
    let staging = owner
        .post(&format!("/projects/{id}/environments"), json!({ "name": "Staging", "type": "staging" }))
        .await
        .expect(201);
    let token = owner.post(&format!("/projects/{id}/tokens"), json!({ "name": "known" })).await.expect(201);
    let of_project =
        [("project", id.clone()), ("key", "KNOWN".to_owned()), ("token", text(&token["token"]["id"]))];
    let of_bare = [("project", text(&bare["id"])), ("key", "FIRST".to_owned())];
    let of_staging = [("environment", text(&staging["id"]))];
    let (preview, commit) = waiting_preview(app, id).await;
    let of_preview = [("environment", preview)];
    let of_team = [("team", "acme".to_owned())];
    let settings = json!({
        "name": "N", "slug": "n", "repoUrl": app.repository("tiny", "n"), "branch": "main",
    });
    let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let none = json!({});
    vec![
        case(
            owner,
            post.clone(),
            "/teams/{team}/projects",
            &of_team,
            settings,
            &["project.created", "project.environment_created"],
        ),
        case(
            owner,
            patch.clone(),
            "/projects/{project}",
            &of_project,
            json!({ "name": "Other" }),
            &["project.settings_changed"],
        ),
        case(
            owner,
            put.clone(),
            "/projects/{project}/retention",
            &of_project,
            json!({ "days": 7 }),
            &["project.settings_changed"],
        ),
        case(
            owner,
            put.clone(),
            "/projects/{project}/telemetry-quota",
            &of_project,
            json!({ "rowsPerDay": 1000 }),
            &["project.settings_changed"],
        ),
        case(owner, delete.clone(), "/projects/{project}", &of_project, none.clone(), &["project.deleted"]),
        case(
            owner,
            post.clone(),
            "/projects/{project}/environments",
            &of_project,
            json!({ "name": "Preview", "type": "preview" }),
            &["project.environment_created"],
        ),
        case(
            owner,
            patch.clone(),
            "/environments/{environment}",
            &of_staging,
            json!({ "name": "Stage" }),
            &["project.environment_changed"],
        ),
        case(
            owner,
            delete.clone(),
            "/environments/{environment}",
            &of_staging,
            none.clone(),
            &["project.environment_deleted"],
        ),
        case(
            owner,
            post.clone(),
            "/environments/{environment}/approve",
            &of_preview,
            json!({ "commitSha": commit }),
            &["project.preview_approved"],
        ),
        case(
            owner,
            put,
            "/projects/{project}/env-vars/{key}",
            &of_bare,
            json!({ "value": "first of its project" }),
            &["project.env_var_set"],
        ),
        case(
            owner,
            delete.clone(),
            "/projects/{project}/env-vars/{key}",
            &of_project,
            none.clone(),
            &["project.env_var_deleted"],
        ),
        case(
            owner,
            post.clone(),
            "/projects/{project}/env-vars/import",
            &of_project,
            json!("KNOWN=x\nNEW='1' # the only one that changes something\n"),
            &["project.env_var_set"],
        ),
        case(
            owner,
            post.clone(),
            "/environments/{environment}/env-vars/promote",
            &of_staging,
            json!({ "from": project.production }),
            &["project.env_var_set"],
        ),
        case(
            owner,
            post.clone(),
            "/projects/{project}/tokens",
            &of_project,
            json!({ "name": "new" }),
            &["project.token_created"],
        ),
        case(
            owner,
            post.clone(),
            "/projects/{project}/tokens/{token}/rotate",
            &of_project,
            none.clone(),
            &["project.token_rotated"],
        ),
        case(
            owner,
            delete,
            "/projects/{project}/tokens/{token}",
            &of_project,
            none.clone(),
            &["project.token_revoked"],
        ),
    ]
}
