//! Mail, handed to a real SMTP server: private, once, and tried again as long as that may help.

use std::time::Duration;

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::smtp::Sink;
use tests::world::team;

async fn invite(owner: &Client, email: &str) -> Value {
    owner.post("/teams/acme/invites", json!({ "email": email, "role": "viewer" })).await.expect(201)
}

/// The team's owner on a platform, and the team.
async fn acme(app: &TestApp) -> Client {
    let owner = app.owner().await;
    team(&owner, "acme").await;
    owner
}

async fn until_work(app: &TestApp, what: &str, condition: &str) -> String {
    let query = format!("SELECT last_error FROM work WHERE process = 'deliver_invite' AND {condition}");
    let mut found: Option<String> = None;
    app.wait_until(what, Duration::from_secs(60), async || {
        found = sqlx::query_scalar(&query).fetch_optional(app.db.pool()).await.unwrap();
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test]
async fn an_invite_arrives_privately_as_text_and_html() {
    let (starttls, wrapped) = (Sink::start().await, Sink::start_wrapped().await);
    for (sink, security) in [(&starttls, "starttls"), (&wrapped, "tls")] {
        let app = sink.app(&[("MASTRA_ADMIN_SMTP_SECURITY", security)]).await;
        let owner = acme(&app).await;
        owner.patch("/teams/acme", json!({ "name": "Ácme\u{2028}<b>" })).await.expect(200);
        let made = invite(&owner, "ann@example.org").await;
        let mail = sink.until(&app, "ann@example.org", 1).await.remove(0);
        assert_eq!(
            mail.said,
            json!({ "from": "mastra@example.org", "to": ["ann@example.org"], "tls": true, "user": "mailer" })
        );
        let event: String =
            sqlx::query_scalar("SELECT event_id::text FROM events WHERE event_type = 'team.member_invited'")
                .fetch_one(app.db.pool())
                .await
                .unwrap();
        let id = format!("<{event}.invite-{}@example.org>", made["id"].as_str().unwrap());
        assert_eq!(mail.header("Message-ID"), id, "{}", mail.text);
        for part in ["multipart/alternative", "text/plain", "text/html", "Your invite: "] {
            assert!(mail.text.contains(part), "{part} in {}", mail.text);
        }
        assert!(!app.log().contains("Your invite"), "the log has no secrets");
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_or_wants_another_password_gets_nothing() {
    let (sink, other) = (Sink::start().await, Sink::start().await);
    let foreign = other.certificate().to_string_lossy().into_owned();
    for (settings, why) in [
        ([("MASTRA_ADMIN_SMTP_CA_FILE", foreign.as_str())], "certificate"),
        ([("MASTRA_ADMIN_SMTP_HOST", "127.0.0.1")], "certificate"),
        ([("MASTRA_ADMIN_SMTP_PASSWORD", "wrong-password")], "535"),
    ] {
        let app = sink.app(&settings).await;
        let owner = acme(&app).await;
        invite(&owner, "ann@example.org").await;
        let error = until_work(&app, "it was tried", "last_error IS NOT NULL AND state = 'ready'").await;
        assert!(error.contains(why), "{why}: {error}");
        assert!(!error.contains("wrong-password") && !app.log().contains("wrong-password"));
        assert!(sink.arrived().is_empty());
    }
}

#[tokio::test]
async fn a_server_that_is_busy_or_breaks_off_is_tried_again_and_the_mail_comes_once() {
    let sink = Sink::start().await;
    let app = sink.app(&[]).await;
    let owner = acme(&app).await;
    for who in ["later", "cut"] {
        let address = format!("{who}@example.org");
        let made = invite(&owner, &address).await;
        sink.until(&app, &address, 1).await;
        app.settle().await;
        let mails = sink.until(&app, &address, 1).await;
        assert_eq!(mails.len(), 1, "{who}");
        let id = format!(".invite-{}@example.org>", made["id"].as_str().unwrap());
        assert!(mails[0].header("Message-ID").ends_with(&id));
        assert_eq!(sink.tries(who), 3);
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_given_up_and_seen() {
    let sink = Sink::start().await;
    let app = sink.app(&[]).await;
    let owner = acme(&app).await;
    invite(&owner, "reject@example.org").await;
    let error = until_work(&app, "it is given up", "state = 'dead'").await;
    assert!(error.contains("550") || error.contains("no such user"), "{error}");
    assert_eq!(sink.tries("reject"), 1);
    invite(&owner, "ann@example.org").await;
    sink.until(&app, "ann@example.org", 1).await;
}

#[tokio::test]
async fn a_name_with_a_line_break_is_no_name() {
    let app = TestApp::start().await;
    let owner = acme(&app).await;
    for name in ["Acme\r\nBcc: eve@example.org", "Acme\nX"] {
        let refused = owner.patch("/teams/acme", json!({ "name": name })).await;
        assert_eq!(refused.status, 422, "{name:?}: {}", refused.text);
    }
    for email in ["ann@example.org\r\nBcc: eve@example.org", "ann@example.org,eve@example.org"] {
        let refused = owner.post("/teams/acme/invites", json!({ "email": email, "role": "viewer" })).await;
        assert_eq!(refused.status, 422, "{email:?}: {}", refused.text);
    }
}
