//! Commands of people about themselves.

use reqwest::Method;
use serde_json::json;
use tests::app::{PASSWORD, TestApp};
use tests::client::Client;
use tests::people::{join, mailed_token, one_time_code};
use tests::world::Project;

use super::{Case, NOW, case, invite, text};

#[expect(clippy::too_many_lines, reason = "a table: one entry a command")]
pub(super) async fn cases(app: &TestApp, owner: &Client, project: &Project, guest: &Client) -> Vec<Case> {
    let mine = owner.post("/me/tokens", json!({ "name": "mine" })).await.expect(201);
    let ann = join(app, owner, "ann@example.org", None).await;
    let to_ann = mailed_token(app, &invite(owner, "ann@example.org").await).await;
    let to_eve = mailed_token(app, &invite(owner, "eve@example.org").await).await;
    app.owner().await;
    let sessions = owner.get("/auth/sessions").await.expect(200);
    let is_other = |session: &&serde_json::Value| session["current"] == json!(false);
    let others = sessions["items"].as_array().unwrap().iter().filter(is_other).count();
    let session = text(&sessions["items"].as_array().unwrap().iter().find(is_other).unwrap()["id"]);
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
    let (id, none) = (&project.id, json!({}));
    let (post, patch, delete) = (Method::POST, Method::PATCH, Method::DELETE);
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
            guest,
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
    ]
}
