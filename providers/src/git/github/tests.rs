use super::webhook::{is_full_name, read, receive, repo_url, tell};
use super::*;
use domain::push::Reference;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// The example of GitHub's documentation ("Validating webhook deliveries").
const SECRET: &str = "It's a Secret to Everybody";
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

fn received(signature: Option<&str>, body: &[u8]) -> Result<Received, ReceiveError> {
    received_as("push", signature, body)
}

fn received_as(kind: &str, signature: Option<&str>, body: &[u8]) -> Result<Received, ReceiveError> {
    let (kind, signature) = (kind.to_owned(), signature.map(str::to_owned));
    let header = move |name: &str| match name {
        "x-hub-signature-256" => signature.clone(),
        "x-github-delivery" => Some("d1".to_owned()),
        "x-github-event" => Some(kind.clone()),
        _ => None,
    };
    receive(Some(&Secret::new(SECRET)), &header, body)
}

/// What is found is written and read as what is sent: with the ref and the head that are compared the next time.
#[test]
fn of_a_pull_request_only_what_changes_its_preview_tells_its_head() {
    let told = |action: &str| Received {
        id: "d1".to_owned(),
        kind: "pull_request".to_owned(),
        action: Some(action.to_owned()),
        installation: Some(7001),
        repository: Some(5),
        repository_name: Some("acme/agent".to_owned()),
        reference: Some("refs/pull/12/head".to_owned()),
        commit: Some("a".repeat(40)),
        ..Received::default()
    };
    let sent = |action: &str| {
        let body = tell(&told(action));
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(&body);
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        (
            received_as("pull_request", Some(&signature), &body).unwrap(),
            read(&web(), "pull_request", &body).unwrap(),
        )
    };
    for action in ["opened", "reopened", "synchronize", "closed"] {
        let (received, news) = sent(action);
        assert_eq!(received, told(action));
        let HostNews::PullRequest(news) = news else { panic!("{news:?}") };
        assert_eq!((news.repository, news.number, news.is_of_interest), (5, 12, true));
    }
    let (labeled, news) = sent("labeled");
    assert_eq!((labeled.reference, labeled.commit), (None, None));
    assert!(matches!(news, HostNews::PullRequest(news) if !news.is_of_interest));
}

#[test]
fn the_published_signature_is_that_of_the_published_body_and_of_no_other() {
    // It is signed, and no JSON.
    let good = received(Some(SIGNATURE), b"Hello, World!");
    assert!(matches!(good, Err(ReceiveError::Malformed(_))), "{good:?}");
    let (short, sha1) = (&SIGNATURE[..SIGNATURE.len() - 2], SIGNATURE.replace("sha256", "sha1"));
    for (signature, body) in [
        (Some(SIGNATURE), &b"Hello, World?"[..]),
        (Some(short), b"Hello, World!"),
        (Some(sha1.as_str()), b"Hello, World!"),
        (Some("sha256="), b"Hello, World!"),
        (Some("sha256=zz"), b"Hello, World!"),
        (None, b"Hello, World!"),
    ] {
        assert!(matches!(received(signature, body), Err(ReceiveError::Unproved(_))), "{signature:?}");
    }
    assert_eq!(receive(None, &|_: &str| None, b""), Err(ReceiveError::Closed));
}

fn web() -> Url {
    Url::parse("https://github.com").unwrap()
}

fn news(payload: &Value) -> Result<HostNews, Unreadable> {
    read(&web(), "push", payload.to_string().as_bytes())
}

fn push(reference: &str, after: &str) -> Value {
    json!({ "ref": reference, "after": after, "repository": { "id": 7 }, "installation": { "id": 8 } })
}

#[test]
fn hostile_refs_and_commits_are_refused_by_their_names_and_odd_ones_are_taken() {
    let sha = "a".repeat(40);
    for name in ["feature/#1", "a&b", "日本", "user/fix;x", "$(id)", "release-1.0"] {
        let Ok(HostNews::Push(read)) = news(&push(&format!("refs/heads/{name}"), &sha)) else {
            panic!("{name}")
        };
        assert_eq!(read.reference, Reference::Branch(name.parse().unwrap()));
    }
    for (reference, after, field) in [
        ("refs/heads/--upload-pack=touch x", sha.as_str(), "ref"),
        ("refs/heads/../../x", &sha, "ref"),
        ("refs/heads/a\nb", &sha, "ref"),
        ("refs/heads/", &sha, "ref"),
        ("ext::sh -c id", &sha, "ref"),
        ("main", &sha, "ref"),
        ("refs/heads/main", "--upload-pack=x", "after"),
        ("refs/heads/main", "abc", "after"),
        ("refs/heads/main", "$(id)", "after"),
    ] {
        assert_eq!(news(&push(reference, after)).unwrap_err().field, field, "{reference} {after}");
    }
    for (field, value) in [("ref", Value::Null), ("after", json!(7)), ("repository", json!({ "id": "7" }))] {
        let mut payload = push("refs/heads/main", &sha);
        payload[field] = value;
        assert!(news(&payload).unwrap_err().field.starts_with(field));
    }
}

#[test]
fn paths_are_known_only_when_all_of_them_are() {
    let sha = "a".repeat(40);
    let with = |commits: Value, more: Value| {
        let mut payload = push("refs/heads/main", &sha);
        payload["commits"] = commits;
        for (name, value) in more.as_object().unwrap() {
            payload[name] = value.clone();
        }
        match news(&payload).unwrap() {
            HostNews::Push(push) => push.paths,
            other => panic!("{other:?}"),
        }
    };
    let known =
        json!([{ "added": ["a"], "modified": null, "removed": ["b"] }, { "added": [], "modified": ["c"] }]);
    assert_eq!(with(known.clone(), json!({})), Some(vec!["a".into(), "b".into(), "c".into()]));
    assert_eq!(with(known.clone(), json!({ "forced": true })), None);
    assert_eq!(with(known, json!({ "created": true })), None);
    for unknown in [json!(null), json!([]), json!([{ "id": "x" }]), json!([{ "added": null }]), json!("x")] {
        assert_eq!(with(unknown.clone(), json!({})), None, "{unknown}");
    }
    let gone = match news(&push("refs/heads/main", &"0".repeat(40))).unwrap() {
        HostNews::Push(push) => push.after,
        other => panic!("{other:?}"),
    };
    assert_eq!(gone, domain::push::Tip::Gone);
}

#[test]
fn a_repository_has_a_plain_name() {
    for name in ["acme/agent", "Acme-1/a.b_c", "a/.github"] {
        assert!(is_full_name(name), "{name}");
        assert_eq!(repo_url(&web(), name).unwrap().as_str(), format!("https://github.com/{name}.git"));
    }
    for name in
        ["acme", "acme/", "/x", "a/b/c", "../x", "a/..", "-o/x", "a/-x", "a b/c", "a/b;c", "a/b\n", "a/$(x)"]
    {
        assert!(!is_full_name(name), "{name}");
    }
}
