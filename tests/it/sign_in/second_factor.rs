//! The second factor: codes, recovery codes, guesses.

use serde_json::json;
use tests::app::{OWNER, PASSWORD, TestApp};
use tests::client::Answer;
use tests::people::one_time_code as code;

async fn login(app: &TestApp, totp: Option<&str>) -> Answer {
    let mut body = json!({ "email": OWNER, "password": PASSWORD });
    if let Some(code) = totp {
        body["totp"] = json!(code);
    }
    app.nobody().post("/auth/login", body).await
}

async fn types(app: &TestApp) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT event_type FROM events WHERE event_type ~ 'second_factor|recovery_code' ORDER BY position",
    )
    .fetch_all(app.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn it_is_asked_for_once_it_was_shown_to_work_and_no_code_works_twice() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let nothing = owner.post("/auth/totp/confirm", json!({ "code": "123456" })).await;
    assert_eq!((nothing.status, nothing.str("code").as_str()), (409, "nothing_to_confirm"));
    let made = owner.post("/auth/totp", json!({})).await.expect(200);
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(
        made["otpauthUrl"].as_str().unwrap().starts_with("otpauth://totp/MastraAdmin:owner%40example.org")
    );
    assert_eq!(login(&app, None).await.status, 200, "it is not confirmed yet");
    let wrong = owner.post("/auth/totp/confirm", json!({ "code": "12345" })).await;
    assert_eq!((wrong.status, wrong.body["errors"][0]["field"].as_str()), (422, Some("code")));

    // One step back, so that the one of now is left for later.
    let confirmed = owner.post("/auth/totp/confirm", json!({ "code": code(&secret, -30) })).await.expect(200);
    let recovery: Vec<&str> =
        confirmed["recoveryCodes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(recovery.len(), 10);
    assert_eq!(owner.post("/auth/totp", json!({})).await.status, 409, "there is one already");

    let without = login(&app, None).await;
    assert_eq!((without.status, without.str("code").as_str()), (401, "totp_required"));
    let wrong = login(&app, Some("000000 ")).await;
    assert_eq!((wrong.status, wrong.str("code").as_str()), (401, "invalid_totp"));
    let now = code(&secret, 0);
    let (one, other) = tokio::join!(login(&app, Some(&now)), login(&app, Some(&now)));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "a code works once, however many try at once");

    let copied = recovery[0].to_uppercase().replace('-', " ");
    assert_eq!(login(&app, Some(&copied)).await.status, 200);
    assert_eq!(login(&app, Some(recovery[0])).await.status, 401, "it was used");
    assert_eq!(owner.delete("/auth/totp").await.status, 422, "not without a code");
    let request = owner.request(reqwest::Method::DELETE, "/auth/totp").json(&json!({ "code": recovery[1] }));
    tests::client::Client::send(request).await.expect(200);
    assert_eq!(login(&app, None).await.status, 200);
    assert_eq!(
        types(&app).await,
        [
            "user.second_factor_enabled",
            "user.recovery_code_used",
            "user.recovery_code_used",
            "user.second_factor_disabled"
        ]
    );
    let kept: String = sqlx::query_scalar("SELECT string_agg(payload::text, '') FROM events")
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    assert!(
        !kept.contains(&secret) && recovery.iter().all(|code| !kept.contains(code)),
        "no secret in the log"
    );
}

#[tokio::test]
async fn guesses_are_slowed_down_and_a_token_changes_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let made = owner.post("/auth/totp", json!({})).await.expect(200);
    let secret = made["secret"].as_str().unwrap().to_owned();
    owner.post("/auth/totp/confirm", json!({ "code": code(&secret, -30) })).await.expect(200);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(login(&app, Some("x")).await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(login(&app, Some(&code(&secret, 0))).await.status, 429);
    let token = owner.post("/me/tokens", json!({ "name": "ci" })).await.expect(201);
    let token = app.nobody().with_token(token["plainToken"].as_str().unwrap());
    assert_eq!(token.post("/auth/totp", json!({})).await.status, 403);
    let reasons: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT payload ->> 'reason' FROM events WHERE event_type = 'access.sign_in_failed' ORDER BY 1",
    )
    .fetch_all(app.db.pool())
    .await
    .unwrap();
    assert_eq!(reasons, ["throttled", "wrong_code"]);
}
