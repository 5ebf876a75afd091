//! What is uploaded: that it becomes a build like any other, and that nothing else comes of it.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::repository;
use tests::world;

use super::{Deploy, project, team, tiny, version, zipped};

async fn execute(app: &TestApp, query: &str) {
    sqlx::query(query).execute(app.db.pool()).await.unwrap();
}

#[tokio::test]
async fn an_upload_is_a_build_like_any_other() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let made = json!({ "name": "ci", "scopes": ["deploy"] });
    let made = owner.post(&format!("/projects/{}/tokens", project.id), made).await.expect(201);
    let ci = app.nobody().with_token(made["plainToken"].as_str().unwrap());

    let first = Deploy::begin(&ci, &project, json!({ "disablePlatformObservability": false })).await;
    assert_eq!(first.put(tiny(1)).await.status, 200);
    assert_eq!(first.complete(&ci).await.status, 202);
    assert_eq!(first.complete(&ci).await.status, 202, "asked twice, it is one build");
    assert_eq!(first.settled(&app, &ci).await["status"], "running");
    assert_eq!(version(&project, &owner).await, "1");
    let build = first.build(&owner).await;
    assert_eq!((&build["status"], &build["commitSha"]), (&json!("ready"), &Value::Null), "{build}");
    assert_eq!(build["upload"]["bytes"], tiny(1).len(), "{build}");
    let list = owner.get(&format!("/projects/{}/builds", project.id)).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    // A token that may not set variables deploys without; whoever may, with them.
    let vars = json!({ "envVars": { "GREETING": "hello", "PORT": "1" } });
    let path = format!("{}/deploy", first.below);
    assert_eq!(ci.post(&path, vars.clone()).await.status, 403);
    let second = Deploy::begin(&owner, &project, vars).await;
    assert_eq!(second.put(tiny(2)).await.status, 200);
    assert_eq!(second.complete(&owner).await.status, 202);
    assert_eq!(second.settled(&app, &owner).await["status"], "running");
    assert_eq!(version(&project, &owner).await, "2");
    assert_eq!(project.ask(&owner, "/api/env").await.body["GREETING"], "hello");

    // Back to the first, and on to another environment.
    let back = format!("/environments/{}/rollback", project.production);
    let back = owner.post(&back, json!({})).await.expect(202);
    app.until_status(&owner, &format!("/deployments/{}", back["id"].as_str().unwrap()), &["running"]).await;
    assert_eq!(version(&project, &owner).await, "1");
    let rehearsal = json!({ "name": "Rehearsal", "type": "staging" });
    let rehearsal =
        owner.post(&format!("/projects/{}/environments", project.id), rehearsal).await.expect(201);
    let promote = format!("/environments/{}/deployments", rehearsal["id"].as_str().unwrap());
    let promoted = owner.post(&promote, json!({ "buildId": second.id })).await.expect(202);
    let promoted = format!("/deployments/{}", promoted["id"].as_str().unwrap());
    app.until_status(&owner, &promoted, &["running"]).await;

    let trail = owner.get(&format!("/teams/acme/audit?resourceId={}", first.id)).await.expect(200);
    let acts: Vec<&str> =
        trail["items"].as_array().unwrap().iter().filter_map(|row| row["action"].as_str()).collect();
    assert!(acts.iter().any(|act| act.contains("requested")), "{trail}");
    let payload: Value = sqlx::query_scalar(
        "SELECT payload FROM events WHERE aggregate_id = $1 AND event_type = 'build.requested'",
    )
    .bind(&first.id)
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    assert_eq!(payload["source"]["kind"], "upload", "{payload}");
}

#[tokio::test]
async fn an_address_is_good_once_for_a_while_and_for_so_much() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_UPLOAD_MIB", "1")]).await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let deploy = Deploy::begin(&owner, &project, json!({})).await;

    let (base, secret) = deploy.url.rsplit_once('/').unwrap();
    let other = format!("{}{}", if secret.starts_with('A') { 'B' } else { 'A' }, &secret[1..]);
    for url in [
        format!("{base}/{other}"),
        format!("{base}/x"),
        deploy.url.replace(&deploy.id, "01900000-0000-7000-8000-000000000000"),
        deploy.url.replace(&deploy.id, "x"),
    ] {
        assert_eq!(
            Deploy { url, ..Deploy::begin(&owner, &project, json!({})).await }.put("x").await.status,
            404
        );
    }
    let read = Client::send(reqwest::Client::new().get(&deploy.url)).await;
    assert_eq!(read.status, 405, "what was sent is not to be had there");

    assert_eq!(deploy.complete(&owner).await.str("code"), "not_uploaded");
    let mebibyte = 1 << 20;
    assert_eq!(deploy.put(vec![0; mebibyte + 1]).await.status, 413, "said so before");
    assert_eq!(deploy.put(vec![0; mebibyte]).await.status, 200, "that did not use it up");
    let again = deploy.put("x").await;
    assert_eq!((again.status, again.str("code").as_str()), (410, "upload_over"));

    let endless = Deploy::begin(&owner, &project, json!({})).await;
    let chunks = futures_util::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 64 << 10])));
    let endless =
        reqwest::Client::new().put(&endless.url).body(reqwest::Body::wrap_stream(chunks)).send().await;
    // Who goes on sending may see the connection end before the answer.
    assert!(endless.is_err() || endless.unwrap().status() == 413, "not said before");

    let late = Deploy::begin(&owner, &project, json!({})).await;
    execute(&app, "UPDATE uploads SET expires_at = now() - interval '1 s' WHERE taken_at IS NULL").await;
    assert_eq!(late.put("x").await.status, 410);
    let old = Deploy::begin(&owner, &project, json!({})).await;
    assert_eq!(old.put("x").await.status, 200);
    execute(&app, "UPDATE uploads SET created_at = now() - interval '2 h'").await;
    assert_eq!(old.complete(&owner).await.str("code"), "upload_expired");
    let incoming = std::fs::read_dir(app.dir.path().join("data/incoming")).unwrap();
    assert_eq!(incoming.count(), 0, "nothing is left half way");
}

#[tokio::test]
async fn an_upload_belongs_to_its_project_and_a_team_has_only_so_many() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let deploy = Deploy::begin(&owner, &project, json!({})).await;
    assert_eq!(deploy.put("x").await.status, 200);

    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    let theirs = world::project(&stranger, "other", "own", &app.repository("tiny", "own"), json!({})).await;
    assert_eq!(deploy.complete(&stranger).await.status, 404);
    let below = format!("//v1/projects/{}/environments/{}", theirs.id, theirs.production);
    assert_eq!(Deploy { below: below.clone(), ..deploy }.complete(&stranger).await.status, 404);

    // Who names a team is held to it, and a path is of one piece.
    let listed = |name: &str| {
        let path = format!("//v1/projects/{}/environments", theirs.id);
        Client::send(stranger.request(Method::GET, &path).header("x-organization-id", name))
    };
    assert_eq!((listed("other").await.status, listed("acme").await.status), (200, 404));
    let mixed = format!("//v1/projects/{}/environments/{}/deploy", project.id, theirs.production);
    assert_eq!(stranger.post(&mixed, json!({})).await.status, 404);

    // What is refused takes no place; of those that are begun at once, as many as may be are.
    let deploy = format!("{below}/deploy");
    let unfit = stranger.post(&deploy, json!({ "envVars": { "no name": "1" } })).await;
    assert_eq!(unfit.status, 422, "{}", unfit.text);
    let all = (0..30).map(|_| stranger.post(&deploy, json!({})));
    let mut all: Vec<u16> =
        futures_util::future::join_all(all).await.into_iter().map(|answer| answer.status).collect();
    all.sort_unstable();
    assert_eq!(all, [[201; 20].as_slice(), &[409; 10]].concat());
    // Where there is no room, nothing is set either.
    let refused = stranger.post(&deploy, json!({ "envVars": { "GREETING": "hello" } })).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (409, "too_many_uploads"));
    let variables = stranger.get(&format!("/projects/{}/env-vars", theirs.id)).await.expect(200);
    assert_eq!(variables["items"], json!([]));
    Deploy::begin(&owner, &project, json!({})).await;
}

#[tokio::test]
async fn what_is_no_output_of_mastra_fails_and_says_why() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let good = Deploy::begin(&owner, &project, json!({})).await;
    good.put(tiny(1)).await;
    good.complete(&owner).await;
    assert_eq!(good.settled(&app, &owner).await["status"], "running");

    let mut out = zipped(&[("out/evil", "x"), ("output/index.mjs", "")]);
    let places: Vec<usize> =
        out.windows(8).enumerate().filter(|(_, at)| *at == b"out/evil").map(|(n, _)| n).collect();
    assert_eq!(places.len(), 2, "before its content, and in the directory");
    places.iter().for_each(|at| out[*at..*at + 3].copy_from_slice(b"../"[..3].as_ref()));
    for (zip, words) in [
        (b"no zip at all".to_vec(), "no zip that can be read"),
        (zipped(&[("readme.md", "x")]), "output/index.mjs"),
        (zipped(&[("output/index.mjs", "x")]), "output/package.json"),
        (out, "leads out of the zip"),
    ] {
        let deploy = Deploy::begin(&owner, &project, json!({})).await;
        assert_eq!(deploy.put(zip).await.status, 200);
        deploy.complete(&owner).await;
        let failed = deploy.settled(&app, &owner).await;
        assert_eq!(failed["status"], "failed", "{failed}");
        assert!(failed["error"].as_str().unwrap().contains(words), "{failed}");
        assert_eq!(deploy.build(&owner).await["failure"]["code"], "upload_refused");
        let diagnosis =
            owner.get(&format!("{}/deploys/{}/diagnosis", deploy.below, deploy.id)).await.expect(200);
        assert_eq!(diagnosis["diagnosis"]["summary"], failed["error"]);
        assert_eq!(version(&project, &owner).await, "1", "what served goes on");
    }
}

#[tokio::test]
async fn an_upload_that_waits_is_cancelled_and_never_built() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_BUILDS", "1")]).await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    // One that does not end by itself holds the only place.
    let sleep = r#"{ "version": "1", "sleep": 600000 }"#;
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", sleep)]);
    let endless = format!("/builds/{}", project.build(&owner).await);
    app.until_status(&owner, &endless, &["building"]).await;

    let deploy = Deploy::begin(&owner, &project, json!({})).await;
    assert_eq!(deploy.put(tiny(2)).await.status, 200);
    assert_eq!(deploy.complete(&owner).await.status, 202);
    assert_eq!(deploy.build(&owner).await["status"], "queued");
    let cancel = owner.post(&format!("/builds/{}/cancel", deploy.id), json!({})).await;
    assert_eq!(cancel.status, 200, "{}", cancel.text);
    let settled = deploy.settled(&app, &owner).await;
    assert_eq!((&settled["status"], &settled["error"]), (&json!("stopped"), &json!("It was cancelled.")));
    assert_eq!(deploy.build(&owner).await["status"], "cancelled");

    // The place is free for the next, and nothing comes of what was cancelled.
    owner.post(&format!("{endless}/cancel"), json!({})).await.expect(200);
    let next = Deploy::begin(&owner, &project, json!({})).await;
    assert_eq!(next.put(tiny(3)).await.status, 200);
    next.complete(&owner).await.expect(202);
    assert_eq!(next.settled(&app, &owner).await["status"], "running");
    assert_eq!(version(&project, &owner).await, "3");
    app.settle().await;
    let started = "SELECT count(*) FROM events WHERE aggregate_id = $1 AND event_type = 'build.started'";
    let started: i64 = sqlx::query_scalar(started).bind(&deploy.id).fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(started, 0);
    assert_eq!(deploy.complete(&owner).await.status, 202, "asked again, it is the same build");
    assert_eq!(deploy.build(&owner).await["status"], "cancelled");
}

#[tokio::test]
async fn what_was_uploaded_is_built_by_the_next_life_of_the_server() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let deploy = Deploy::begin(&owner, &project, json!({})).await;
    assert_eq!(deploy.put(tiny(1)).await.status, 200);
    app.kill_and_restart().await;
    let owner = app.owner().await;
    assert_eq!(deploy.complete(&owner).await.status, 202);
    app.kill_and_restart().await;
    let owner = app.owner().await;
    assert_eq!(deploy.settled(&app, &owner).await["status"], "running");
    assert_eq!(version(&project, &owner).await, "1");

    // Nobody needs it any more; its bytes wait for those who may just have sent the same.
    execute(&app, "UPDATE uploads SET created_at = now() - interval '3 h'").await;
    app.kill_and_restart().await;
    app.wait_until("the upload is over", std::time::Duration::from_secs(60), async || {
        let over = "SELECT count(*) = 1 FROM uploads WHERE over_at IS NOT NULL";
        sqlx::query_scalar(over).fetch_one(app.db.pool()).await.unwrap()
    })
    .await;
    let files = std::process::Command::new("find")
        .arg(app.dir.path().join("data/uploads"))
        .args(["-type", "f"])
        .output();
    let files = String::from_utf8(files.unwrap().stdout).unwrap();
    assert_eq!(files.lines().count(), 1, "{files}");
    for file in files.lines() {
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 3600);
        std::fs::File::options().append(true).open(file).unwrap().set_modified(old).unwrap();
    }
    app.kill_and_restart().await;
    app.wait_until("it is forgotten", std::time::Duration::from_secs(60), async || {
        let none = "SELECT count(*) = 0 FROM uploads";
        sqlx::query_scalar(none).fetch_one(app.db.pool()).await.unwrap()
    })
    .await;
    assert!(files.lines().all(|file| !std::path::Path::new(file).exists()));
}
