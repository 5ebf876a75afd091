//! Commands about teams, their members and roles.

use reqwest::Method;
use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::github::installed;
use tests::world::Project;

use super::{Case, case, invite, text};

#[expect(clippy::too_many_lines, reason = "a table: one entry a command")]
pub(super) async fn cases(app: &TestApp, owner: &Client, project: &Project, guest: &Client) -> Vec<Case> {
    let guest_id = text(&guest.get("/me").await.expect(200)["id"]);
    let open = invite(owner, "open@example.org").await;
    let role = owner.post("/teams/acme/roles", json!({ "name": "Known" })).await.expect(201);
    let of_role = [("role", text(&role["id"]))];
    let scope = json!({ "type": "project", "projectId": project.id });
    let give = |role: &str| json!({ "userId": guest_id, "roleId": role, "scope": scope });
    let given = owner.post("/role-assignments", give("project:viewer")).await.expect(201);
    let assignment = [("assignment", text(&given["id"]))];
    let of_team = [("team", "acme".to_owned()), ("invite", open), ("user", guest_id.clone())];
    let closed = owner.post("/teams", json!({ "name": "Closed", "slug": "closed" })).await.expect(201);
    owner.delete("/teams/closed").await.expect(200);
    let of_installation = [("installation", installed(app, owner, "acme").await)];
    let of_closed = [("team", text(&closed["id"]))];
    let (post, patch, delete) = (Method::POST, Method::PATCH, Method::DELETE);
    let none = json!({});
    vec![
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
            "/installations/{installation}",
            &of_installation,
            none.clone(),
            &["team.installation_removed"],
        ),
        case(owner, delete.clone(), "/teams/{team}", &of_team, none.clone(), &["team.closed"]),
        case(owner, post.clone(), "/teams/{team}/restore", &of_closed, none.clone(), &["team.reopened"]),
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
    ]
}
