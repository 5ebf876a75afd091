//! Invites: sent, sent again, accepted once, expired.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::{join, mailed_token};
use tests::world::team;

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().expect("an id").to_owned()
}

fn field(answer: &Answer) -> &str {
    answer.body["errors"][0]["field"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_invite_that_is_sent_again_has_another_secret() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let ann = join(&app, &owner, "ann+x@example.org", None).await;
    let invite = |email: &str| json!({ "email": email, "role": "viewer" });
    // Full-width letters and another case are the same address; what follows a plus belongs to it.
    let made = owner.post("/teams/acme/invites", invite("\u{ff21}NN+x@Example.org")).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let first = mailed_token(&app, id).await;
    app.settle().await;
    let again = owner.post(&format!("/teams/acme/invites/{id}/resend"), json!({})).await.expect(200);
    assert_eq!((&again["id"], again["status"].as_str()), (&made["id"], Some("pending")));
    app.settle().await;
    let second = mailed_token(&app, id).await;
    assert_ne!(first, second);
    let accept = async |token: &str| ann.post("/invites/accept", json!({ "token": token })).await;
    let (old, made_up) = (accept(&first).await, accept("made up").await);
    assert_eq!((old.status, made_up.status), (410, 410));
    assert_eq!((old.str("code"), old.str("detail")), (made_up.str("code"), made_up.str("detail")));
    accept(&second).await.expect(200);
    assert_eq!(owner.post(&format!("/teams/acme/invites/{id}/resend"), json!({})).await.status, 410);

    let other = owner.post("/teams/acme/invites", invite("ann@example.org")).await.expect(201);
    let token = mailed_token(&app, other["id"].as_str().unwrap()).await;
    assert_eq!(accept(&token).await.status, 410, "ann@ is not ann+x@");
}

#[tokio::test]
async fn an_invite_expires_by_itself_and_its_address_can_be_invited_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let body = json!({ "email": "ann@example.org", "role": "viewer" });
    let made = owner.post("/teams/acme/invites", body.clone()).await.expect(201);
    app.settle().await;
    let waits: Option<bool> = sqlx::query_scalar(
        "SELECT abs(extract(epoch FROM run_at - ($1::text)::timestamptz)) < 1 FROM work WHERE process = 'expire_invite' AND state = 'ready'",
    )
    .bind(made["expiresAt"].as_str().unwrap())
    .fetch_optional(app.db.pool())
    .await
    .unwrap();
    assert_eq!(waits, Some(true), "it is looked at when its time is over");

    // Seven days pass for a later invite: its event says that its time was over before.
    let team_id: String =
        sqlx::query_scalar("SELECT aggregate_id FROM events WHERE event_type = 'team.created'")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    let late = json!({
        "type": "team.invite_resent", "invite_id": made["id"], "token_hash": "ab".repeat(32),
        "token": sqlx::query_scalar::<_, Value>("SELECT payload::jsonb -> 'token' FROM events WHERE event_type = 'team.member_invited'")
            .fetch_one(app.db.pool()).await.unwrap(),
        "invited_by": id_of(&owner).await, "expires_at": "2020-01-01T00:00:00Z"
    });
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT 'team', $1, max(sequence) + 1, 'team.invite_resent', '1', $2, '{}' FROM events
          WHERE aggregate_type = 'team' AND aggregate_id = $1",
    )
    .bind(&team_id)
    .bind(&late)
    .execute(app.db.pool())
    .await
    .unwrap();
    app.settle().await;
    let invites = owner.get("/teams/acme/invites").await.expect(200);
    assert_eq!(invites["items"][0]["status"], "expired", "{invites}");
    let expired: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'team.invite_expired'")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    assert_eq!(expired, 1);
    owner.post("/teams/acme/invites", body).await.expect(201);
}

#[tokio::test]
async fn an_invite_is_for_one_address_and_one_time() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let ann = join(&app, &owner, "ann@example.org", None).await;
    let eve = join(&app, &owner, "eve@example.org", None).await;
    let invite = |email: &str, role: &str| json!({ "email": email, "role": role });
    let made = owner.post("/teams/acme/invites", invite("ann@example.org", "admin")).await.expect(201);
    assert_eq!(made["status"], "pending");
    let again = owner.post("/teams/acme/invites", invite("Ann@example.org", "viewer")).await;
    assert_eq!((again.status, field(&again)), (409, "email"));
    let token = mailed_token(&app, made["id"].as_str().unwrap()).await;
    assert!(!owner.get("/teams/acme/invites").await.text.contains(&token));

    let accept = json!({ "token": token });
    let stolen = eve.post("/invites/accept", accept.clone()).await.status;
    assert!([404, 410].contains(&stolen), "{stolen}");
    assert_eq!(eve.get("/teams/acme").await.status, 404);
    ann.post("/invites/accept", accept.clone()).await.expect(200);
    assert_eq!(ann.get("/teams/acme").await.status, 200);
    assert_eq!(eve.post("/invites/accept", json!({ "token": "made up" })).await.status / 100, 4);

    assert_eq!(ann.post("/teams/acme/invites", invite("x@example.org", "owner")).await.status, 403);
    let second = ann.post("/teams/acme/invites", invite("eve@example.org", "viewer")).await.expect(201);
    let token = mailed_token(&app, second["id"].as_str().unwrap()).await;
    owner.delete(&format!("/teams/acme/invites/{}", second["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(eve.post("/invites/accept", json!({ "token": token })).await.status, 410);
    let member = owner.post("/teams/acme/invites", invite("ann@example.org", "viewer")).await;
    assert_eq!((member.status, field(&member)), (409, "email"));
}
