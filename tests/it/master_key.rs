//! The master key: which one a server needs, and how another takes its place while servers run.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::ports::encryption::{Encryption, EncryptionError};
use domain::secret::Secret;
use providers::encryption::aes_256_gcm::Aes256Gcm;
use serde_json::{Value, json};
use tests::app::{TestApp, program};
use tests::client::Client;
use tests::world::team;
use tokio::process::Command;

const NEW: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const NEXT: &str = "MASTRA_ADMIN_MASTER_KEY_NEXT";

/// The program on the database and data of a server.
fn command(app: &TestApp, arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(program("mastra-admin"));
    command.args(arguments).arg("--data-dir").arg(data).env("DATABASE_URL", app.db.url());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs to its end; answers whether it was good, and all that it said.
async fn run(mut command: Command) -> (bool, String) {
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let output = output.expect("it ends").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A project of its own with a value, which makes a data key; answers the path of its variables.
async fn project_with_a_value(client: &Client, slug: &str, value: &str) -> String {
    let body = json!({ "name": slug, "slug": slug, "repoUrl": "https://example.org/a/b", "branch": "main" });
    let made = client.post("/teams/acme/projects", body).await.expect(201);
    let path = format!("/projects/{}/env-vars", made["id"].as_str().unwrap());
    client.put(&format!("{path}/A"), json!({ "value": value })).await.expect(200);
    path
}

/// How many data keys are under a master key of this name, and how many under others.
async fn under(app: &TestApp, name: &str) -> (i64, i64) {
    sqlx::query_as(
        "SELECT count(*) FILTER (WHERE provider = $1), count(*) FILTER (WHERE provider <> $1)
           FROM data_keys WHERE wrapped IS NOT NULL",
    )
    .bind(name)
    .fetch_one(app.db.pool())
    .await
    .unwrap()
}

async fn operations(app: &TestApp) -> Vec<(String, String, Value)> {
    sqlx::query_as(
        "SELECT event_type, metadata ->> 'actor', payload::jsonb FROM events
          WHERE event_type LIKE 'ops.master_key%' ORDER BY position",
    )
    .fetch_all(app.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one rotation, told from its beginning to its end")]
async fn another_master_key_takes_over_under_load_killed_in_the_middle_and_the_old_one_opens_nothing() {
    let mut app = TestApp::start_with(&[(NEXT, NEW)]).await;
    let data = app.dir.path().join("data");
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let other = app.another().await;
    let beside = Client::new(&other.url).with_token(owner.token().unwrap());
    let mut kept = vec![];
    for n in 0..25 {
        kept.push((
            project_with_a_value(&owner, &format!("before-{n}"), &format!("v{n}")).await,
            format!("v{n}"),
        ));
    }

    let stop = Arc::new(AtomicBool::new(false));
    let mut load = vec![];
    for (server, client) in [("one", owner.clone()), ("two", beside.clone())] {
        let stop = stop.clone();
        load.push(tokio::spawn(async move {
            let mut made = vec![];
            while !stop.load(Ordering::Relaxed) {
                let slug = format!("{server}-{}", made.len());
                made.push((project_with_a_value(&client, &slug, &slug).await, slug));
            }
            made
        }));
    }

    // The last data key is held, so that the rotation is caught in the middle.
    let mut held = app.db.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM data_keys WHERE owner = (SELECT max(owner) FROM data_keys) FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let new = Aes256Gcm::from_key(&Secret::new(NEW)).unwrap();
    let mut rotate = command(&app, &["keys", "rotate", "--actor", "ada"], &data);
    let mut rotating = rotate.env(NEXT, NEW).spawn().unwrap();
    app.wait_until("some data keys are wrapped anew", Duration::from_secs(60), async || {
        let (done, left) = under(&app, new.name()).await;
        done >= 20 && left > 0
    })
    .await;
    rotating.kill().await.unwrap();
    let mut status = command(&app, &["keys", "status"], &data);
    status.env(NEXT, NEW);
    let (good, said) = run(status).await;
    assert!(good && said.contains("still wrapped anew") && said.contains(new.name()), "{said}");
    for client in [&owner, &beside] {
        let shown = client.get(&format!("{}?reveal=true", kept[0].0)).await.expect(200);
        assert_eq!(shown["items"][0]["value"], "v0", "in the middle, everything opens");
    }
    held.rollback().await.unwrap();

    let mut again = command(&app, &["keys", "rotate", "--actor", "grace"], &data);
    again.env(NEXT, NEW);
    let (good, said) = run(again).await;
    assert!(good, "{said}");
    stop.store(true, Ordering::Relaxed);
    for made in load {
        let made = made.await.expect("no request was refused");
        assert!(!made.is_empty());
        kept.extend(made);
    }
    assert_eq!(under(&app, new.name()).await.1, 0, "every data key, those made meanwhile, too");
    let log = operations(&app).await;
    assert_eq!((&*log[0].0, &*log[0].1), ("ops.master_key_rotation_begun", "operator:ada"));
    assert_eq!((&*log[1].0, &*log[1].1, log.len()), ("ops.master_key_rotated", "operator:grace", 2));
    assert_eq!(log[1].2["to"], new.name());
    let mut third = command(&app, &["keys", "rotate"], &data);
    third.env(NEXT, NEW);
    let (good, said) = run(third).await;
    assert!(!good && said.contains("already"), "it never goes back: {said}");

    // With the old key alone nothing opens, and no server starts.
    let old = std::fs::read(data.join("master.key")).unwrap();
    let old = Aes256Gcm::from_key(&Secret::new(old)).unwrap();
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT owner, wrapped FROM data_keys WHERE wrapped IS NOT NULL")
            .fetch_all(app.db.pool())
            .await
            .unwrap();
    for (of, wrapped) in rows {
        assert_eq!(old.unwrap(&wrapped, &of).await, Err(EncryptionError::WrongKey), "{of}");
        assert!(new.unwrap(&wrapped, &of).await.is_ok(), "{of}");
    }
    let (good, said) = run(command(&app, &["serve", "--listen", "127.0.0.1:0"], &data)).await;
    assert!(!good && said.contains("another master key") && said.contains(new.name()), "{said}");

    drop(other);
    app.restart_with(&[("MASTRA_ADMIN_MASTER_KEY", NEW)]).await;
    let owner = Client::new(&app.url).with_token(owner.token().unwrap());
    for (path, value) in kept {
        let shown = owner.get(&format!("{path}?reveal=true")).await.expect(200);
        assert_eq!(shown["items"][0]["value"], value, "{path}");
    }
}

#[tokio::test]
async fn a_database_from_before_keys_had_names_is_found_out_and_a_wrong_key_is_refused() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let path = project_with_a_value(&owner, "old", "value").await;
    app.kill().await;
    sqlx::raw_sql("DELETE FROM master_key; UPDATE data_keys SET provider = 'aes-256-gcm'")
        .execute(app.db.pool())
        .await
        .unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (good, said) = run(command(&app, &["serve", "--listen", "127.0.0.1:0"], elsewhere.path())).await;
    assert!(!good && said.contains("another master key"), "{said}");
    app.kill_and_restart().await;
    let owner = Client::new(&app.url).with_token(owner.token().unwrap());
    assert_eq!(owner.get(&format!("{path}?reveal=true")).await.expect(200)["items"][0]["value"], "value");
    let data = app.dir.path().join("data");
    let mut rotate = command(&app, &["keys", "rotate"], &data);
    rotate.env(NEXT, NEW);
    let (good, said) = run(rotate).await;
    assert!(good, "{said}");
    let (good, said) = run(command(&app, &["serve", "--listen", "127.0.0.1:0"], elsewhere.path())).await;
    assert!(!good && said.contains("another master key"), "{said}");
}

#[tokio::test]
async fn no_encryption_is_refused_without_dev_and_shown_with_it() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_ENCRYPTION", "none"), ("MASTRA_ADMIN_DEV", "true")]).await;
    assert_eq!(app.nobody().get("//api/ready").await.body["encryption"], "none");
    assert!(app.log().contains("encryption is `none`"), "{}", app.log());
    let data = app.dir.path().join("data");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--encryption", "none"];
    let (good, said) = run(command(&app, &serve, &data)).await;
    assert!(!good && said.contains("--dev"), "{said}");
    for (weak, why) in [
        ("00".repeat(32), "weak"),
        ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(), "weak"),
        ("short".to_owned(), "32 bytes"),
    ] {
        let mut serve = command(&app, &["serve", "--listen", "127.0.0.1:0"], &data);
        serve.env("MASTRA_ADMIN_MASTER_KEY", &weak);
        let (good, said) = run(serve).await;
        assert!(!good && said.contains(why) && !said.contains(&weak), "{said}");
    }
    // From nothing to a master key is a rotation like any other.
    let owner = app.owner().await;
    team(&owner, "acme").await;
    project_with_a_value(&owner, "bare", "value").await;
    let mut rotate = command(&app, &["keys", "rotate", "--dev"], &data);
    rotate.env("MASTRA_ADMIN_MASTER_KEY", NEW);
    let (good, said) = run(rotate).await;
    assert!(good && said.contains("takes the place of none"), "{said}");
}
