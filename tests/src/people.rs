//! Users, made as people become users: by an invite.

use std::time::Duration;

use serde_json::json;
use totp_rs::{Algorithm, Secret, TOTP};

use crate::app::{PASSWORD, TestApp};
use crate::client::Client;

/// Makes a user. With a team and role they join it; otherwise they are invited into a team that they then
/// leave, so that they belong to none.
pub async fn join(app: &TestApp, owner: &Client, email: &str, team: Option<(&str, &str)>) -> Client {
    let lobby = team.is_none();
    let (team, role) = team.unwrap_or(("lobby", "viewer"));
    if lobby && owner.get("/teams/lobby").await.status == 404 {
        owner.post("/teams", json!({ "name": "Lobby", "slug": "lobby" })).await.expect(201);
    }
    let invite = owner
        .post(&format!("/teams/{team}/invites"), json!({ "email": email, "role": role }))
        .await
        .expect(201);
    let token = mailed_token(app, invite["id"].as_str().expect("an id")).await;
    let nobody = app.nobody();
    let body = json!({
        "inviteToken": token, "email": email, "password": PASSWORD, "firstName": "Ann", "lastName": "Lee"
    });
    let answer = nobody.post("/auth/register", body).await;
    assert!(answer.status == 200 || answer.status == 201, "{}", answer.text);
    let user = app.sign_in(email).await;
    if lobby {
        let me = user.get("/me").await.expect(200);
        let id = me["id"].as_str().or(me["user"]["id"].as_str()).expect("an id").to_owned();
        owner.delete(&format!("/teams/lobby/members/{id}")).await.expect(200);
    }
    user
}

/// The secret of an invite, out of its mail.
pub async fn mailed_token(app: &TestApp, invite: &str) -> String {
    let outbox = app.dir.path().join("mail");
    let mut token = None;
    app.wait_until("the invite is mailed", Duration::from_secs(30), async || {
        let mails = std::fs::read_dir(&outbox).into_iter().flatten().flatten();
        let mail =
            mails.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains(invite)).max();
        let text = mail.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        token = text.lines().find_map(|line| line.strip_prefix("Your invite: ").map(|t| t.trim().to_owned()));
        token.is_some()
    })
    .await;
    token.expect("it was waited for")
}

/// The code that an authenticator with this secret shows so many seconds from now.
pub fn one_time_code(secret: &str, later: i64) -> String {
    let secret = Secret::Encoded(secret.to_owned()).to_bytes().expect("a secret");
    let totp = TOTP::new(Algorithm::SHA1, 6, 1, 30, secret, None, String::new()).expect("a good secret");
    totp.generate(u64::try_from(chrono::Utc::now().timestamp() + later).expect("after 1970"))
}
