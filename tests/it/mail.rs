//! Mail, handed to a real SMTP server: private, once, and tried again as long as that may help.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{OWNER, PASSWORD, TestApp};
use tests::client::Client;
use tests::people::one_time_code;
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

#[tokio::test]
async fn people_hear_of_what_happens_to_their_accounts() {
    let sink = Sink::start().await;
    let app = sink.app(&[]).await;
    let owner = app.owner().await;
    let login = async |agent: &str| {
        let body = json!({ "email": OWNER, "password": PASSWORD });
        let request = app.nobody().request(Method::POST, "/auth/login").header("user-agent", agent);
        Client::send(request.json(&body)).await.expect(200);
        app.settle().await;
    };
    login("Robot/1").await;
    assert_eq!(sink.until(&app, OWNER, 1).await.len(), 1, "the first sign-in of all is no news");
    login("Robot/1").await;
    login("<b>Robot</b>/2").await;
    let mails = sink.until(&app, OWNER, 2).await;
    assert_eq!(mails.len(), 2, "a place is news once");
    assert_eq!(mails[1].header("Subject"), "Somebody signed in to your account from a new place");
    assert!(mails[1].text.contains("&lt;b&gt;Robot&lt;/b&gt;/2"), "{}", mails[1].text);
    let ids: BTreeSet<_> = mails.iter().map(|mail| mail.header("Message-ID").to_owned()).collect();
    assert_eq!(ids.len(), 2, "each is a mail of its own");

    let other = "quite another battery staple";
    owner.post("/auth/password", json!({ "current": PASSWORD, "new": other })).await.expect(200);
    let mails = sink.until(&app, OWNER, 3).await;
    assert_eq!(mails[2].header("Subject"), "Your password was changed");
    let made = owner.post("/auth/totp", json!({})).await.expect(200);
    let code = one_time_code(made["secret"].as_str().unwrap(), 0);
    owner.post("/auth/totp/confirm", json!({ "code": code })).await.expect(200);
    let mails = sink.until(&app, OWNER, 4).await;
    assert_eq!(mails[3].header("Subject"), "A second factor is asked for when you sign in");
    assert!(!mails.iter().any(|mail| mail.text.contains(other)));

    let places = "SELECT count(*) FROM known_places";
    let seen: i64 = sqlx::query_scalar(places).fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(seen, 3);
    let erase = owner.request(Method::DELETE, "/me").json(&json!({ "password": other }));
    Client::send(erase).await.expect(200);
    let seen: i64 = sqlx::query_scalar(places).fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(seen, 0, "they go with the person");
}

/// The server comes back after a kill, and the mail to this address arrives once more, as the same mail.
async fn arrives_again(app: &mut TestApp, sink: &Sink, email: &str) {
    app.kill_and_restart().await;
    let mails = sink.until(app, email, 2).await;
    let ids: BTreeSet<_> = mails.iter().map(|mail| mail.header("Message-ID").to_owned()).collect();
    assert_eq!((mails.len(), ids.len()), (2, 1), "a mail program shows one of the two: {ids:?}");
    assert!(ids.iter().all(|id| id.contains(".invite-")), "{ids:?}");
    app.settle().await;
    assert_eq!(sink.until(app, email, 2).await.len(), 2, "and that is all");
}

#[tokio::test]
async fn a_mail_that_was_given_away_without_an_answer_when_the_server_died_is_the_same_mail_again() {
    let sink = Sink::start().await;
    let mut app = sink.app(&[]).await;
    let owner = acme(&app).await;
    invite(&owner, "hold@example.org").await;
    sink.until(&app, "hold@example.org", 1).await;
    let sending: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM work WHERE process = 'deliver_invite' AND state = 'running'",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    assert_eq!(sending, 1, "it waits for the answer");
    arrives_again(&mut app, &sink, "hold@example.org").await;
}

#[tokio::test]
async fn a_mail_that_was_taken_before_the_server_could_write_it_down_is_the_same_mail_again() {
    const HELD: i64 = 4711;
    let sink = Sink::start().await;
    let mut app = sink.app(&[]).await;
    let owner = acme(&app).await;
    app.settle().await;
    // That the mail is out is not written down while this lock is held.
    let held = format!(
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock({HELD}); RETURN new; END $$;
         CREATE TRIGGER held BEFORE UPDATE ON work FOR EACH ROW
            WHEN (new.state = 'done' AND new.process = 'deliver_invite') EXECUTE FUNCTION held()"
    );
    sqlx::raw_sql(&held).execute(app.db.pool()).await.unwrap();
    let mut lock = app.db.pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(HELD).execute(&mut *lock).await.unwrap();
    invite(&owner, "ann@example.org").await;
    let waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    app.wait_until("the mail is out and that is to be written down", Duration::from_secs(60), async || {
        let query = format!("SELECT count(*) FROM {waiting}");
        sqlx::query_scalar::<_, i64>(&query).fetch_one(app.db.pool()).await.unwrap() == 1
    })
    .await;
    assert_eq!(sink.until(&app, "ann@example.org", 1).await.len(), 1);
    app.kill().await;
    // PostgreSQL would still carry out what it was told.
    let end = format!("SELECT pg_terminate_backend(pid) FROM {waiting}");
    sqlx::query(&end).execute(app.db.pool()).await.unwrap();
    sqlx::raw_sql("DROP TRIGGER held ON work").execute(app.db.pool()).await.unwrap();
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(HELD).execute(&mut *lock).await.unwrap();
    arrives_again(&mut app, &sink, "ann@example.org").await;
}
