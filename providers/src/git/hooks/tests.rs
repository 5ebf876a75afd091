use std::collections::HashMap;

use domain::push::{Push, Reference, Tip};

use super::*;

/// The vector of the Standard Webhooks specification's own libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn receive(
    secrets: &[&str],
    headers: &[(&str, &str)],
    body: &[u8],
    now: i64,
) -> Result<(&'static str, Received), ReceiveError> {
    let headers: HashMap<String, String> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    AnyHost.receive(&secrets, &|name| headers.get(name).cloned(), body, at(now))
}

fn is_unproved(answer: Result<(&'static str, Received), ReceiveError>) -> bool {
    matches!(answer, Err(ReceiveError::Unproved(_)))
}

#[test]
fn the_published_vector_of_standard_webhooks_is_proved_for_five_minutes() {
    let sent = SENT.to_string();
    let headers = [("webhook-id", ID), ("webhook-timestamp", &sent), ("webhook-signature", SIGNATURE)];
    for now in [SENT - 300, SENT, SENT + 300] {
        let (form, told) = receive(&[SECRET], &headers, BODY, now).unwrap();
        assert_eq!((form, told.id.as_str(), told.kind.as_str()), ("webhook", ID, "push"));
    }
    for now in [SENT - 301, SENT + 301, 0, i64::from(u32::MAX)] {
        assert!(is_unproved(receive(&[SECRET], &headers, BODY, now)), "{now}");
    }
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(receive(&[other, SECRET], &headers, BODY, SENT).is_ok(), "the one before a rotation");
    assert!(is_unproved(receive(&[other], &headers, BODY, SENT)));
    assert!(is_unproved(receive(&[], &headers, BODY, SENT)));
    assert!(is_unproved(receive(&[SECRET], &headers, b"{\"test\": 2432232315}", SENT)));
    let rotated = format!("v1,AAAA v2,x {SIGNATURE}");
    let several = [("webhook-id", ID), ("webhook-timestamp", &sent), ("webhook-signature", &rotated)];
    assert!(receive(&[SECRET], &several, BODY, SENT).is_ok(), "one of several signatures is enough");
    for (name, value) in [
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", "1614265331"),
        ("webhook-timestamp", "soon"),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,日本"),
        ("webhook-signature", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ] {
        let mut headers = headers.to_vec();
        headers.retain(|(known, _)| *known != name);
        assert!(is_unproved(receive(&[SECRET], &headers, BODY, SENT)), "without {name}");
        headers.push((name, value));
        assert!(is_unproved(receive(&[SECRET], &headers, BODY, SENT)), "{name}: {value}");
    }
}

#[test]
fn a_token_is_no_way_around_a_signature() {
    let headers = [("x-gitlab-token", SECRET), ("idempotency-key", "a"), ("x-gitlab-event", "Push Hook")];
    assert_eq!(receive(&[SECRET], &headers, b"{}", 0).unwrap().0, "gitlab");
    let mut signed = headers.to_vec();
    signed.push(("x-gitea-signature", "00"));
    assert!(is_unproved(receive(&[SECRET], &signed, b"{}", 0)));
    for token in ["", "whsec_", &SECRET[..SECRET.len() - 1], &format!("{SECRET}x")] {
        let wrong = [("x-gitlab-token", token), ("idempotency-key", "a"), ("x-gitlab-event", "Push Hook")];
        assert!(is_unproved(receive(&[SECRET], &wrong, b"{}", 0)), "{token}");
    }
    assert!(is_unproved(receive(&[SECRET], &[], b"{}", 0)));
}

#[test]
fn what_was_proved_must_be_a_delivery() {
    let headers = [("x-gitlab-token", SECRET), ("x-gitlab-event", "Push Hook")];
    let malformed = |answer| matches!(answer, Err(ReceiveError::Malformed(_)));
    assert!(malformed(receive(&[SECRET], &headers, b"{}", 0)), "it has no id");
    let with_id = [headers[0], headers[1], ("x-gitlab-event-uuid", "u")];
    for body in [&b""[..], b"[]", b"x", b"\xff"] {
        assert!(malformed(receive(&[SECRET], &with_id, body, 0)));
    }
    let (_, told) = receive(&[SECRET], &with_id, b"{}", 0).unwrap();
    assert_eq!((told.id.as_str(), told.kind.as_str()), ("u", "push"));
    let issue = [headers[0], ("x-gitlab-event", "Issue Hook"), ("idempotency-key", "i")];
    let (form, told) = receive(&[SECRET], &issue, b"{}", 0).unwrap();
    assert_eq!((form, told.kind.as_str()), ("gitlab", "issue"));
    assert_eq!(AnyHost.read(form, &told.kind, b"{}"), Ok(HostNews::Other));
}

fn push(form: &str, payload: &Value) -> Result<Push, Unreadable> {
    match AnyHost.read(form, "push", payload.to_string().as_bytes())? {
        HostNews::Push(push) => Ok(push),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_push_of_each_form_says_the_same() {
    let sha = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";
    let commits = json!([
        { "id": "b6568db1bc1dcd7f8b4d5a946b0b91f9dacd7327", "message": "older",
          "added": ["CHANGELOG"], "modified": ["app/x.ts"], "removed": [] },
        { "id": sha, "message": "newest [skip ci]", "added": null, "modified": [], "removed": ["y"] },
    ]);
    let before = "95790bf891e76fee5e1747ab589903a6a1f80f22";
    let body = |total: &str| json!({ "ref": "refs/heads/feature/#1", "before": before, "after": sha, "commits": commits, total: 2 });
    for (form, payload) in [("gitlab", body("total_commits_count")), ("gitea", body("total_commits"))] {
        let read = push(form, &payload).unwrap();
        assert_eq!(read.reference, Reference::Branch("feature/#1".parse().unwrap()));
        assert_eq!(read.after, Tip::At(sha.parse().unwrap()));
        assert_eq!(read.message.as_deref(), Some("newest [skip ci]"));
        let paths = ["CHANGELOG", "app/x.ts", "y"].map(str::to_owned).to_vec();
        assert_eq!(read.paths, Some(paths), "{form}");
        let without = |field: &str, value: Value| {
            let mut other = payload.clone();
            other[field] = value;
            push(form, &other)
        };
        assert_eq!(without("before", json!("0".repeat(40))).unwrap().paths, None, "the branch is new");
        assert_eq!(without("total_commits", json!(30)).unwrap().paths.is_none(), form == "gitea");
        assert_eq!(without("commits", json!(null)).unwrap().paths, None);
        assert_eq!(without("after", json!("0".repeat(40))).unwrap().after, Tip::Gone);
        assert_eq!(without("ref", json!("refs/tags/v1")).unwrap().reference, Reference::Tag);
        for (field, value) in [
            ("ref", json!("main")),
            ("ref", json!("refs/heads/--upload-pack=x")),
            ("after", json!("$(id)")),
            ("after", json!(null)),
        ] {
            assert_eq!(without(field, value).unwrap_err().field, field);
        }
    }
    let own = json!({ "branch": "日本", "commitSha": sha, "message": "x", "paths": ["a"] });
    let read = push("webhook", &own).unwrap();
    assert_eq!((read.after, read.paths), (Tip::At(sha.parse().unwrap()), Some(vec!["a".to_owned()])));
    assert_eq!(push("webhook", &json!({ "branch": "main" })).unwrap().after, Tip::Unsaid);
    for (field, odd) in [
        ("branch", json!({})),
        ("branch", json!({ "branch": "a b" })),
        ("commitSha", json!({ "branch": "main", "commitSha": "HEAD" })),
        ("commitSha", json!({ "branch": "main", "commitSha": 7 })),
        ("paths", json!({ "branch": "main", "paths": "a" })),
    ] {
        assert_eq!(push("webhook", &odd).unwrap_err().field, field, "{odd}");
    }
}

#[test]
fn what_would_have_been_told_is_read_back() {
    let sha = "b".repeat(40);
    let told = Received {
        reference: Some("refs/heads/a&b".to_owned()),
        commit: Some(sha.clone()),
        ..Received::default()
    };
    let (form, body) = AnyHost.tell(&told);
    let read = push(form, &serde_json::from_slice(&body).unwrap()).unwrap();
    assert_eq!(read.reference, Reference::Branch("a&b".parse().unwrap()));
    assert_eq!(read.after, Tip::At(sha.parse().unwrap()));
    let secret = AnyHost.secret(&Secret::new([7; 32]));
    assert_eq!(secret.expose_str(), Some("whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"));
}
