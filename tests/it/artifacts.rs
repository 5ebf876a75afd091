//! Where packed builds are kept: one contract for every store, and what is kept for how long.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts, Removal};
use domain::secret::Secret;
use providers::artifacts::folder::FolderArtifacts;
use providers::artifacts::s3::{S3Artifacts, S3Config};
use serde_json::{Value, json};
use tests::app::{TestApp, program};
use tests::client::Client;
use tests::repository;
use tests::s3::{BUCKET, Bucket};
use tests::world::{Project, team_and_project};

/// More than goes in one part.
const LARGE: usize = 20_000_000;

fn s3(endpoint: &str, prefix: &str) -> S3Artifacts {
    s3_of(endpoint, BUCKET, prefix)
}

fn s3_of(endpoint: &str, bucket: &str, prefix: &str) -> S3Artifacts {
    let config = S3Config {
        endpoint: Some(endpoint.to_owned()),
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: Secret::new("test"),
        secret_access_key: Secret::new("test"),
    };
    S3Artifacts::new(&config).unwrap()
}

fn file_of(artifact: &Artifact) -> String {
    let sha256 = &artifact.sha256;
    format!("{}/{}/{sha256}.tar.zst", &sha256[..2], &sha256[2..4])
}

/// What every store does; `damage` overwrites what is kept under a name.
async fn contract(store: &dyn Artifacts, damage: impl AsyncFn(&str, &[u8])) {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    store.check().await.unwrap();
    for content in [vec![], b"hello\n".to_vec(), (0..LARGE).map(|n| (n / 7 % 251) as u8).collect()] {
        fs::write(&source, &content).unwrap();
        let artifact = store.put(&source).await.unwrap();
        assert_eq!(artifact.bytes, content.len() as u64);
        assert_eq!(store.put(&source).await.unwrap(), artifact, "the same content is the same artifact");
        store.get(&artifact, &target).await.unwrap();
        assert!(fs::read(&target).unwrap() == content);
        assert!(store.get(&artifact, &target).await.is_err(), "what is there is not overwritten");
        fs::remove_file(&target).unwrap();
    }

    fs::write(&source, "hello\n").unwrap();
    let artifact = store.put(&source).await.unwrap();
    assert_eq!(artifact.sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    for damaged in ["hello?", "hello\nmore", ""] {
        damage(&file_of(&artifact), damaged.as_bytes()).await;
        let answer = store.get(&artifact, &target).await;
        assert!(matches!(answer, Err(ArtifactError::Missing(_))), "{answer:?}");
        assert!(!target.exists());
    }
    store.put(&source).await.unwrap();
    store.get(&artifact, &target).await.expect("putting it again mends it");
    fs::remove_file(&target).unwrap();

    let hour = Duration::from_secs(3600);
    let (before, after) = (SystemTime::now() - hour, SystemTime::now() + hour);
    assert_eq!(store.remove(&artifact, before).await.unwrap(), Removal::Spared);
    store.get(&artifact, &target).await.expect("it was put since");
    assert_eq!(store.remove(&artifact, after).await.unwrap(), Removal::Gone);
    fs::remove_file(&target).unwrap();
    assert!(matches!(store.get(&artifact, &target).await, Err(ArtifactError::Missing(_))));
    assert_eq!(store.remove(&artifact, after).await.unwrap(), Removal::Gone, "nothing there is fine");
    store.put(&source).await.unwrap();
    store.get(&artifact, &target).await.unwrap();

    for sha256 in ["0".repeat(64), "../../../etc/passwd".to_owned(), String::new()] {
        let unknown = Artifact { sha256: sha256.clone(), bytes: 1 };
        let answer = store.get(&unknown, &dir.path().join("x")).await;
        assert!(matches!(answer, Err(ArtifactError::Missing(name)) if name == sha256));
    }
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderArtifacts::open(dir.path()).await.unwrap();
    contract(&store, async |name, bytes| fs::write(dir.path().join(name), bytes).unwrap()).await;
    let left = fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "nothing half done is left");
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let bucket = Bucket::start().await;
    let http = reqwest::Client::new();
    contract(&s3(&bucket.endpoint, "some/place"), async |name, bytes| {
        let put = http.put(bucket.url(&format!("some/place/{name}"))).body(bytes.to_vec());
        put.send().await.unwrap().error_for_status().unwrap();
    })
    .await;
    let listed = http.get(bucket.url("?list-type=2")).send().await.unwrap().text().await.unwrap();
    assert!(listed.contains("-3&quot;</ETag>") || listed.contains("-3\"</ETag>"), "in parts: {listed}");
    assert!(!listed.contains("check-"), "{listed}");
}

#[tokio::test]
async fn a_bucket_that_is_away_or_not_there_is_no_lost_artifact() {
    let bucket = Bucket::start().await;
    let (endpoint, dir) = (bucket.endpoint.clone(), tempfile::tempdir().unwrap());
    let artifact = Artifact { sha256: "0".repeat(64), bytes: 1 };
    let answer = s3_of(&endpoint, "another", "").get(&artifact, &dir.path().join("x")).await;
    assert!(matches!(answer, Err(ArtifactError::Unavailable(_))), "{answer:?}");
    drop(bucket);
    let store = s3(&endpoint, "");
    let answer = store.get(&artifact, &dir.path().join("x")).await;
    assert!(matches!(answer, Err(ArtifactError::Unavailable(_))), "{answer:?}");
    let answer = store.remove(&artifact, SystemTime::now()).await;
    assert!(matches!(answer, Err(ArtifactError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn what_is_in_a_bucket_is_deployed_on_another_machine_too() {
    let bucket = Bucket::start().await;
    let mut app = TestApp::start_with(&bucket.settings()).await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let first = project.deployed(&app, &owner).await;
    let build = owner.get(&format!("/builds/{}", first["buildId"].as_str().unwrap())).await.expect(200);
    assert_eq!(build["artifactKept"], true);
    assert!(!app.dir.path().join("data/artifacts").exists(), "nothing is kept in the data directory");
    // What was unpacked is forgotten, as on a machine that has not built it.
    app.kill_and_restart().await;
    app.wait_until("it serves again, out of the bucket", Duration::from_secs(60), async || {
        project.ask(&app.owner().await, "/api/version").await.status == 200
    })
    .await;

    let mut check = tokio::process::Command::new(program("mastra-admin"));
    check.arg("check").arg("--data-dir").arg(app.dir.path().join("data")).env("DATABASE_URL", app.db.url());
    let said = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    let good = said(check.envs(bucket.settings()).output().await.unwrap());
    assert!(good.contains("ok      artifacts"), "{good}");
    let bad = said(check.env("MASTRA_ADMIN_S3_BUCKET", "another").output().await.unwrap());
    assert!(bad.contains("MISSING artifacts") && bad.contains("another"), "{bad}");
}

/// Three versions, each deployed after the other; answers their deployments.
async fn three(app: &TestApp, owner: &Client, project: &Project) -> Vec<Value> {
    let mut deployments = Vec::new();
    for version in 1..=3 {
        if version > 1 {
            let behaviour = format!(r#"{{ "version": "{version}" }}"#);
            repository::change(&app.repositories().join("tiny"), &[("behaviour.json", &behaviour)]);
        }
        deployments.push(project.deployed(app, owner).await);
    }
    deployments
}

fn kept(app: &TestApp, build: &Value) -> bool {
    place(app.dir.path(), build).exists()
}

fn place(dir: &Path, build: &Value) -> std::path::PathBuf {
    let artifact: Artifact = serde_json::from_value(build["artifact"].clone()).unwrap();
    dir.join("data/artifacts").join(file_of(&artifact))
}

async fn run(app: &TestApp, sql: &str) {
    sqlx::query(sql).execute(app.db.pool()).await.unwrap();
}

#[tokio::test]
async fn what_served_long_ago_goes_and_what_runs_or_may_run_again_stays_through_kills() {
    let mut app = TestApp::start_with(&[("MASTRA_ADMIN_ARTIFACTS_DEPLOYMENTS", "2")]).await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployments = three(&app, &owner, &project).await;
    // As long as the newest has not proved itself, the others run beside it.
    for replaced in &deployments[..2] {
        let replaced = format!("/deployments/{}", replaced["id"].as_str().unwrap());
        app.until_status(&owner, &replaced, &["superseded"]).await;
    }
    app.settle().await;
    let build_of = |n: usize| format!("/builds/{}", deployments[n]["buildId"].as_str().unwrap());
    let old = owner.get(&build_of(0)).await.expect(200);
    assert!(kept(&app, &old) && old["artifactKept"] == true);

    run(&app, "UPDATE read.builds SET finished_at = finished_at - interval '40 days'").await;
    app.kill_and_restart().await;
    let owner = app.owner().await;
    app.wait_until("it is said", Duration::from_secs(60), async || {
        owner.get(&build_of(0)).await.body["artifactKept"] == false
    })
    .await;
    let target = json!({ "deploymentId": deployments[0]["id"] });
    let back = owner.post(&format!("/environments/{}/rollback", project.production), target).await;
    assert_eq!((back.status, back.body["code"].as_str()), (409, Some("artifact_pruned")), "{}", back.text);
    let deploy = json!({ "buildId": old["id"] });
    let again = owner.post(&format!("/environments/{}/deployments", project.production), deploy).await;
    assert_eq!(again.status, 409, "{}", again.text);
    assert!(kept(&app, &old), "the bytes have an hour");

    // Somebody was let in just before that.
    let id = deployments[0]["id"].as_str().unwrap();
    run(&app, &format!("UPDATE read.deployments SET finished_at = NULL WHERE id = '{id}'")).await;
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    fs::File::options()
        .append(true)
        .open(place(app.dir.path(), &old))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    app.hasten("remove_artifact").await;
    app.kill_and_restart().await;
    app.wait_until("it waits for the deployment", Duration::from_secs(60), async || {
        let why = "SELECT count(*) FROM work WHERE last_error LIKE '%still needs it%'";
        sqlx::query_scalar::<_, i64>(why).fetch_one(app.db.pool()).await.unwrap() == 1
    })
    .await;
    assert!(kept(&app, &old));
    run(&app, &format!("UPDATE read.deployments SET finished_at = now() WHERE id = '{id}'")).await;
    app.hasten("remove_artifact").await;
    app.kill_and_restart().await;
    app.wait_until("the bytes are gone", Duration::from_secs(60), async || !kept(&app, &old)).await;

    let owner = app.owner().await;
    for n in [1, 2] {
        let build = owner.get(&build_of(n)).await.expect(200);
        assert!(kept(&app, &build) && build["artifactKept"] == true, "{build}");
    }
    let target = json!({ "deploymentId": deployments[1]["id"] });
    let back =
        owner.post(&format!("/environments/{}/rollback", project.production), target).await.expect(202);
    // The killed server's leases end before the tables move on.
    app.settle().await;
    app.until_status(&owner, &format!("/deployments/{}", back["id"].as_str().unwrap()), &["running"]).await;
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "2");
    let events: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'build.artifact_pruned'")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    assert_eq!(events, 1);
}

#[tokio::test]
async fn an_upload_that_nobody_wants_any_more_leaves_no_parts() {
    let bucket = Bucket::start().await;
    let store = s3(&bucket.endpoint, "cut");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large");
    fs::File::create(&path).unwrap().set_len(400_000_000).unwrap();
    let begun = async || {
        let list = reqwest::get(bucket.url("?uploads")).await.unwrap();
        assert!(list.status().is_success(), "{}", list.status());
        list.text().await.unwrap().matches("<UploadId>").count()
    };
    let sending = tokio::spawn(async move { store.put(&path).await });
    while begun().await == 0 {
        assert!(!sending.is_finished(), "it takes its time");
    }
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while begun().await > 0 {
        assert!(std::time::Instant::now() < deadline, "its parts are kept");
    }
}
