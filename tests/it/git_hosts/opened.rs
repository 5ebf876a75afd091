use std::process::Command;

use serde_json::json;
use tests::app::TestApp;
use tests::git_host::{HttpHost, SshHost};
use tests::world::{project, team};

use super::{is_nowhere, text, why_not};

const TOKEN: &str = "glpat-s3cret_t0ken-of-acme";

#[tokio::test]
async fn a_private_repository_opens_over_https_with_its_token_and_the_token_is_nowhere() {
    let root = tempfile::tempdir().unwrap();
    tests::repository::create("tiny", &root.path().join("acme/agent"));
    let host = HttpHost::start(root.path(), "deploy", TOKEN).await;
    // The one way to reach a host without TLS: the operator has named it.
    let base = format!("http://{}", host.place);
    let app = TestApp::start_with(&[
        ("MASTRA_ADMIN_GITHUB_WEBHOOK_SECRET", "x"),
        ("MASTRA_ADMIN_GITHUB_URL", &base),
    ])
    .await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let url = format!("https://{}/acme/agent", host.place);
    let project = project(&owner, "acme", "agent", &url, json!({})).await;
    let access = format!("/projects/{}/repository", project.id);
    let shown = owner.get(&access).await.expect(200);
    assert_eq!((&shown["host"], &shown["token"]), (&json!(host.place), &json!(null)));

    let closed = why_not(&app, &owner, &project).await.unwrap();
    assert!(closed.contains("no access to it"), "{closed}");
    owner
        .put(&format!("{access}/token"), json!({ "username": "deploy", "token": "wrong" }))
        .await
        .expect(200);
    assert!(why_not(&app, &owner, &project).await.is_some());
    // What was set for another host is not sent to this one.
    let elsewhere = json!({ "username": "deploy", "token": TOKEN, "host": "git.example.org" });
    owner.put(&format!("{access}/token"), elsewhere).await.expect(200);
    assert!(why_not(&app, &owner, &project).await.is_some());

    let set = json!({ "username": "deploy", "token": TOKEN });
    let set = owner.put(&format!("{access}/token"), set).await.expect(200);
    assert_eq!((&set["token"]["host"], &set["token"]["username"]), (&json!(host.place), &json!("deploy")));
    assert_eq!(project.deployed(&app, &owner).await["status"], "running");
    is_nowhere(&app, TOKEN).await;
    for path in [access.clone(), "/teams/acme/audit?limit=200".to_owned()] {
        assert!(!owner.get(&path).await.text.contains(TOKEN));
    }
    owner.delete(&format!("{access}/token")).await.expect(200);
    assert_eq!(owner.delete(&format!("{access}/token")).await.status, 404);
    assert!(why_not(&app, &owner, &project).await.is_some());
}

#[tokio::test]
async fn a_repository_opens_over_ssh_with_a_key_made_here_at_the_server_that_is_known() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("acme/agent.git");
    tests::repository::create("tiny", &path);
    let host = SshHost::start().await;
    let app = TestApp::start_with(&[("MASTRA_ADMIN_GIT_PRIVATE_HOSTS", &host.place)]).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let project = project(&owner, "acme", "agent", &host.repo_url(&path), json!({})).await;
    let access = format!("/projects/{}/repository", project.id);
    let keyless = why_not(&app, &owner, &project).await.unwrap();
    assert!(keyless.contains("no deploy key"), "{keyless}");

    let made = owner.post(&format!("{access}/deploy-key"), json!({})).await.expect(200);
    let key = text(&made["deployKey"]["publicKey"]);
    host.authorize(&[&key]);
    let unknown = why_not(&app, &owner, &project).await.unwrap();
    assert!(unknown.contains("not pinned"), "{unknown}");

    // What the server shows is what ssh-keygen says of its key; nothing is believed by asking.
    let seen = owner.post(&format!("{access}/host-keys/scan"), json!({})).await.expect(200);
    assert_eq!(seen["items"][0]["publicKey"], host.host_key);
    assert_eq!(seen["items"][0]["fingerprint"], fingerprint(&host.host_key));
    assert_eq!(made["deployKey"]["fingerprint"], fingerprint(&key));
    let another = json!({ "hostKeys": [host.other_key().await] });
    owner.put(&format!("{access}/host-keys"), another).await.expect(200);
    let replaced = why_not(&app, &owner, &project).await.unwrap();
    assert!(replaced.contains("another key than those pinned"), "{replaced}");

    let pinned = json!({ "hostKeys": [format!("{} root@git", host.host_key)] });
    let pinned = owner.put(&format!("{access}/host-keys"), pinned).await.expect(200);
    assert_eq!(pinned["hostKeys"][0]["publicKey"], host.host_key);
    assert_eq!(project.deployed(&app, &owner).await["status"], "running");

    // The key before is tried besides, until the new one is at the host too.
    let rotated = owner.post(&format!("{access}/deploy-key"), json!({})).await.expect(200);
    assert_eq!(rotated["oldDeployKey"]["publicKey"], key);
    assert_ne!(rotated["deployKey"]["publicKey"], key);
    assert_eq!(why_not(&app, &owner, &project).await, None);
    let at_once = json!({ "overlapSeconds": 0 });
    let last = owner.post(&format!("{access}/deploy-key"), at_once).await.expect(200);
    assert_eq!(last["oldDeployKey"], json!(null));
    let refused = why_not(&app, &owner, &project).await.unwrap();
    assert!(refused.contains("no access to it"), "{refused}");

    owner.delete(&format!("{access}/deploy-key")).await.expect(200);
    assert!(why_not(&app, &owner, &project).await.unwrap().contains("no deploy key"));
}

/// What OpenSSH itself says.
fn fingerprint(key: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.pub");
    std::fs::write(&file, key).unwrap();
    let said = Command::new("ssh-keygen").arg("-lf").arg(&file).output().unwrap();
    String::from_utf8(said.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn own_networks_and_odd_addresses_are_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let body = |url: &str| json!({ "name": "x", "slug": "x", "repoUrl": url });
    for odd in [
        "ext::sh -c id",
        "--upload-pack=id",
        "ssh://-oProxyCommand=id/x",
        "ssh://git@-oProxyCommand=id/x",
        "ssh://git@example.org/$(id)",
        "git@example.org:a;id",
        "git@example.org:a\nb",
        "ssh://git@example.org/a/../../b",
        "ssh://git@[::ffff:127.0.0.1]/a",
        "ssh://git@2130706433/a",
        "https://user:password@example.org/a",
        "git://example.org/a",
        "http://example.org/a",
    ] {
        let refused = owner.post("/teams/acme/projects", body(odd)).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("repoUrl")), "{odd}");
    }
    let inside = project(&owner, "acme", "inside", "https://2130706433:1/a", json!({})).await;
    for url in ["https://2130706433:1/a", "https://[::ffff:127.0.0.1]:1/a", "https://localhost:1/a"] {
        owner.patch(&format!("/projects/{}", inside.id), json!({ "repoUrl": url })).await.expect(200);
        let refused = why_not(&app, &owner, &inside).await.unwrap();
        assert!(refused.contains("private network"), "{url}: {refused}");
    }
    let over_ssh = json!({ "repoUrl": "ssh://git@127.0.0.1:1/a" });
    owner.patch(&format!("/projects/{}", inside.id), over_ssh).await.expect(200);
    let access = format!("/projects/{}/repository", inside.id);
    let scanned = owner.post(&format!("{access}/host-keys/scan"), json!({})).await;
    assert_eq!((scanned.status, &scanned.body["code"]), (409, &json!("not_allowed")), "{}", scanned.text);
    for (path, body, field) in [
        ("token", json!({ "token": "x" }), "host"),
        ("token", json!({ "token": "x", "host": "a/b" }), "host"),
        ("token", json!({ "token": "x", "host": "user@a" }), "host"),
        ("token", json!({ "token": "a\nb", "host": "a" }), "token"),
        ("token", json!({ "token": "x", "host": "a", "username": "a:b" }), "username"),
        ("host-keys", json!({ "hostKeys": ["ssh-ed25519 AAAA"] }), "hostKeys[0]"),
        ("host-keys", json!({ "hostKeys": [], "host": "-oProxyCommand=id" }), "host"),
    ] {
        let refused = owner.put(&format!("{access}/{path}"), body.clone()).await;
        let named = refused.body["errors"][0]["field"].clone();
        assert_eq!((refused.status, named), (422, json!(field)), "{body}: {}", refused.text);
    }
}
