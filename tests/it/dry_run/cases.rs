//! A case of every command.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{PASSWORD, TestApp};
use tests::client::Client;
use tests::people::{join, mailed_token, one_time_code};
use tests::world::Project;

/// A code begins with this whose authenticator has the secret behind it: it is made when it is sent.
const NOW: &str = "code of now: ";

/// A command that would be carried out, and the types of the events that it would append.
pub(crate) struct Case {
    pub(crate) method: Method,
    pub(crate) route: &'static str,
    pub(crate) path: String,
    pub(crate) client: Client,
    pub(crate) body: Value,
    pub(crate) events: Vec<&'static str>,
}

impl Case {
    /// Its body, as it is sent now.
    pub(super) fn body_now(&self) -> Value {
        match self.body["code"].as_str().and_then(|code| code.strip_prefix(NOW)) {
            Some(secret) => json!({ "code": one_time_code(secret, 0) }),
            None => self.body.clone(),
        }
    }
}

fn case(
    client: &Client,
    method: Method,
    route: &'static str,
    ids: &[(&str, String)],
    body: Value,
    events: &[&'static str],
) -> Case {
    let mut path = route.to_owned();
    for (name, id) in ids {
        path = path.replace(&format!("{{{name}}}"), id);
    }
    Case { method, route, path, client: client.clone(), body, events: events.to_vec() }
}

/// A case of every command, ready to be carried out.
#[expect(clippy::too_many_lines, reason = "a table: one entry a command")]
pub(crate) async fn cases(app: &TestApp, owner: &Client, project: &Project, first: &Value) -> Vec<Case> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
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
    let staging = owner
        .post(&format!("/projects/{id}/environments"), json!({ "name": "Staging", "type": "staging" }))
        .await
        .expect(201);
    let token = owner.post(&format!("/projects/{id}/tokens"), json!({ "name": "known" })).await.expect(201);
    let mine = owner.post("/me/tokens", json!({ "name": "mine" })).await.expect(201);
    let invite = |email: &'static str| {
        let owner = owner.clone();
        async move {
            let body = json!({ "email": email, "role": "viewer" });
            text(&owner.post("/teams/acme/invites", body).await.expect(201)["id"])
        }
    };
    let ann = join(app, owner, "ann@example.org", None).await;
    let guest = join(app, owner, "guest@example.org", Some(("acme", "viewer"))).await;
    let guest_id = text(&guest.get("/me").await.expect(200)["id"]);
    let to_ann = mailed_token(app, &invite("ann@example.org").await).await;
    let to_eve = mailed_token(app, &invite("eve@example.org").await).await;
    let open = invite("open@example.org").await;
    app.owner().await;
    let sessions = owner.get("/auth/sessions").await.expect(200);
    let is_other = |session: &&Value| session["current"] == json!(false);
    let others = sessions["items"].as_array().unwrap().iter().filter(is_other).count();
    let session = text(&sessions["items"].as_array().unwrap().iter().find(is_other).unwrap()["id"]);
    let build = project.build(owner).await;
    app.until_status(owner, &format!("/builds/{build}"), &["ready"]).await;
    let running = project.deployment_of(app, owner, &build).await;
    app.until_status(owner, &format!("/deployments/{running}"), &["running"]).await;
    // A build that waits for a worker for ever: one that somebody may cancel.
    let queued = queued_build(app, first).await;

    let of_project =
        [("project", id.clone()), ("key", "KNOWN".to_owned()), ("token", text(&token["token"]["id"]))];
    let of_bare = [("project", text(&bare["id"])), ("key", "FIRST".to_owned())];
    let of_staging = [("environment", text(&staging["id"]))];
    let of_production = [("environment", project.production.clone())];
    let of_running = [("deployment", running)];
    let settings = json!({
        "name": "N", "slug": "n", "repoUrl": app.repository("tiny", "n"), "branch": "main",
    });
    let account = json!({
        "inviteToken": to_eve, "email": "eve@example.org", "password": PASSWORD, "firstName": "Eve", "lastName": "",
    });
    let fresh = join(app, owner, "fresh@example.org", None).await;
    let proposed = join(app, owner, "proposed@example.org", None).await;
    let secret = text(&proposed.post("/auth/totp", json!({})).await.expect(200)["secret"]);
    let enabled = join(app, owner, "enabled@example.org", None).await;
    let enabled_secret = text(&enabled.post("/auth/totp", json!({})).await.expect(200)["secret"]);
    let confirm = json!({ "code": one_time_code(&enabled_secret, -30) });
    enabled.post("/auth/totp/confirm", confirm).await.expect(200);
    let new_password = json!({ "current": PASSWORD, "new": "another good battery staple" });
    let mut changed = vec!["user.password_changed"];
    changed.extend(std::iter::repeat_n("user.signed_out", others));
    let role = owner.post("/teams/acme/roles", json!({ "name": "Known" })).await.expect(201);
    let of_role = [("role", text(&role["id"]))];
    let scope = json!({ "type": "project", "projectId": id });
    let give = |role: &str| json!({ "userId": guest_id, "roleId": role, "scope": scope });
    let given = owner.post("/role-assignments", give("project:viewer")).await.expect(201);
    let assignment = [("assignment", text(&given["id"]))];
    let of_team = [("team", "acme".to_owned()), ("invite", open), ("user", guest_id.clone())];
    let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let none = json!({});
    vec![
        case(
            &app.nobody(),
            post.clone(),
            "/auth/register",
            &[],
            account,
            &["user.registered", "team.invite_accepted", "team.member_added", "user.signed_in"],
        ),
        case(
            &app.nobody(),
            post.clone(),
            "/auth/login",
            &[],
            json!({ "email": "ann@example.org", "password": PASSWORD }),
            &["user.signed_in"],
        ),
        case(owner, post.clone(), "/auth/logout", &[], none.clone(), &["user.signed_out"]),
        case(owner, post.clone(), "/auth/password", &[], new_password, &changed),
        case(&fresh, post.clone(), "/auth/totp", &[], none.clone(), &[]),
        case(
            &proposed,
            post.clone(),
            "/auth/totp/confirm",
            &[],
            json!({ "code": format!("{NOW}{secret}") }),
            &["user.second_factor_enabled"],
        ),
        case(
            &enabled,
            delete.clone(),
            "/auth/totp",
            &[],
            json!({ "code": format!("{NOW}{enabled_secret}") }),
            &["user.second_factor_disabled"],
        ),
        case(owner, delete.clone(), "/auth/sessions", &[], none.clone(), &changed[1..]),
        case(
            owner,
            delete.clone(),
            "/auth/sessions/{session}",
            &[("session", session)],
            none.clone(),
            &["user.signed_out"],
        ),
        case(
            owner,
            patch.clone(),
            "/me",
            &[],
            json!({ "firstName": "Zoe", "activeTeamId": null, "activeProjectId": id }),
            &["user.profile_changed", "user.active_project_switched"],
        ),
        case(
            &guest,
            delete.clone(),
            "/me",
            &[],
            json!({ "password": PASSWORD }),
            &["team.member_removed", "user.erased"],
        ),
        case(owner, post.clone(), "/me/tokens", &[], json!({ "name": "new" }), &["user.token_created"]),
        case(
            owner,
            post.clone(),
            "/me/tokens/{token}/rotate",
            &[("token", text(&mine["token"]["id"]))],
            none.clone(),
            &["user.token_rotated"],
        ),
        case(
            owner,
            delete.clone(),
            "/me/tokens/{token}",
            &[("token", text(&mine["token"]["id"]))],
            none.clone(),
            &["user.token_revoked"],
        ),
        case(
            &ann,
            post.clone(),
            "/invites/accept",
            &[],
            json!({ "token": to_ann }),
            &["team.invite_accepted", "team.member_added"],
        ),
        case(owner, post.clone(), "/teams", &[], json!({ "name": "New", "slug": "new" }), &["team.created"]),
        case(
            owner,
            patch.clone(),
            "/teams/{team}",
            &of_team,
            json!({ "slug": "renamed" }),
            &["team.renamed"],
        ),
        case(
            owner,
            delete.clone(),
            "/teams/{team}",
            &of_team,
            none.clone(),
            &["team.invite_revoked", "team.invite_revoked", "team.invite_revoked", "team.deleted"],
        ),
        case(
            owner,
            patch.clone(),
            "/teams/{team}/members/{user}",
            &of_team,
            json!({ "role": "admin" }),
            &["team.member_role_changed"],
        ),
        case(
            owner,
            delete.clone(),
            "/teams/{team}/members/{user}",
            &of_team,
            none.clone(),
            &["team.member_removed"],
        ),
        case(
            owner,
            post.clone(),
            "/teams/{team}/invites",
            &of_team,
            json!({ "email": "new@example.org", "role": "viewer" }),
            &["team.member_invited"],
        ),
        case(
            owner,
            post.clone(),
            "/teams/{team}/transfer",
            &of_team,
            json!({ "userId": guest_id }),
            &["team.member_role_changed", "team.member_role_changed"],
        ),
        case(
            owner,
            post.clone(),
            "/teams/{team}/invites/{invite}/resend",
            &of_team,
            none.clone(),
            &["team.invite_resent"],
        ),
        case(
            owner,
            delete.clone(),
            "/teams/{team}/invites/{invite}",
            &of_team,
            none.clone(),
            &["team.invite_revoked"],
        ),
        case(
            owner,
            post.clone(),
            "/teams/{team}/roles",
            &of_team,
            json!({ "name": "New", "permissions": [{ "resource": "build", "action": "read" }] }),
            &["role.created"],
        ),
        case(owner, patch.clone(), "/roles/{role}", &of_role, json!({ "name": "Other" }), &["role.changed"]),
        case(owner, delete.clone(), "/roles/{role}", &of_role, none.clone(), &["role.deleted"]),
        case(owner, post.clone(), "/role-assignments", &[], give("project:deployer"), &["role.assigned"]),
        case(
            owner,
            delete.clone(),
            "/role-assignments/{assignment}",
            &assignment,
            none.clone(),
            &["role.unassigned"],
        ),
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
        case(
            owner,
            post.clone(),
            "/projects/{project}/builds",
            &of_project,
            none.clone(),
            &["build.requested"],
        ),
        case(
            owner,
            post.clone(),
            "/builds/{build}/cancel",
            &[("build", queued)],
            none.clone(),
            &["build.cancel_requested", "build.cancelled"],
        ),
        case(
            owner,
            post.clone(),
            "/environments/{environment}/deployments",
            &of_production,
            json!({ "buildId": build }),
            &["deployment.requested"],
        ),
        case(
            owner,
            post.clone(),
            "/environments/{environment}/rollback",
            &of_production,
            none.clone(),
            &["deployment.requested"],
        ),
        case(
            owner,
            post.clone(),
            "/deployments/{deployment}/stop",
            &of_running,
            none.clone(),
            &["deployment.stopped"],
        ),
        case(owner, post, "/deployments/{deployment}/restart", &of_running, none, &["deployment.requested"]),
    ]
}

/// A build that no worker has taken, as the log would have it: its process is told that it has seen it.
async fn queued_build(app: &TestApp, like: &Value) -> String {
    let id = uuid::Uuid::now_v7().to_string();
    let mut tx = app.db.pool().begin().await.unwrap();
    sqlx::query("SELECT name FROM consumers WHERE name = 'run_build' FOR UPDATE")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             team_id)
         SELECT aggregate_type, $2, 1, event_type, event_version, payload,
                (metadata::jsonb - 'source_ip' - 'user_agent')::json, team_id
           FROM events WHERE aggregate_id = $1 AND sequence = 1",
    )
    .bind(like["buildId"].as_str().unwrap())
    .bind(&id)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(
        "UPDATE consumers SET position = (SELECT position FROM log_head), fence = fence + 1, lease_owner = NULL,
                lease_until = NULL WHERE name = 'run_build'",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    app.settle().await;
    id
}
