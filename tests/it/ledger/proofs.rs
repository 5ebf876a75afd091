//! Proofs that leave the house, and the ledger at work in the platform.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::Utc;
use domain::ids::TeamId;
use domain::team::TeamCommand;
use projections::ledger::{self, Ledger, LedgerOptions, Proof, proves_consistency};
use serde_json::Value;
use tests::app::TestApp;
use tests::bus::context;
use tests::people::join;
use tests::world::team;
use tokio::process::Command;
use uuid::Uuid;

use super::{Proved, log_of_700, said, tool};

#[tokio::test]
async fn a_proof_holds_offline_in_other_hands_and_across_keys() {
    let it = log_of_700().await;
    let first_keys = it.dir.path().join("first.pub");
    std::fs::copy(it.keys.public_file(), &first_keys).unwrap();
    let rotated = it.tool(&["rotate-key"]).await;
    assert!(rotated.status.success() && said(&rotated).contains("next-key"), "{}", said(&rotated));
    it.append(2000).await;
    let checkpoint = it.tool(&["checkpoint"]).await;
    assert!(said(&checkpoint).contains("\n2706\n"), "{}", said(&checkpoint));
    assert_eq!(it.verify(true).await.findings, []);
    assert_eq!(said(&it.tool(&["key"]).await).lines().count(), 2);

    let trusted = projections::ledger::read_public(&first_keys).unwrap();
    let mut db = it.pool().acquire().await.unwrap();
    for position in (1..=2706).step_by(97).chain([255, 256, 257, 512, 513, 700, 701, 2705, 2706]) {
        let proof = ledger::prove(&mut db, position).await.unwrap().expect("it is covered");
        assert_eq!(proof.check(&trusted).unwrap().position, position);
        assert!(proof.check(&trusted[..0]).is_err());
    }
    assert!(ledger::prove(&mut db, 2707).await.unwrap().is_none());

    let file = it.dir.path().join("proof.json");
    let (file, key) = (file.to_str().unwrap(), first_keys.to_str().unwrap());
    let made = it.tool(&["prove", "333", "-o", file]).await;
    assert!(made.status.success(), "{}", said(&made));
    let nowhere = Path::new("/nonexistent");
    let good = tool("postgres://nobody@127.0.0.1:1/x", nowhere, &["check", file, "--public-key", key]).await;
    assert!(good.status.success() && said(&good).contains("position 333"), "{}", said(&good));
    let other = python(file, key).await;
    assert!(other.status.success() && said(&other).contains("position 333"), "{}", said(&other));

    let proof = std::fs::read_to_string(file).unwrap();
    for (was, is) in [("note.taken", "note.token"), ("☃", "*"), ("\"333\"", "\"334\"")] {
        std::fs::write(file, proof.replacen(was, is, 1)).unwrap();
        let output = it.tool(&["check", file, "--public-key", key]).await;
        assert_eq!(output.status.code(), Some(3), "{was}: {}", said(&output));
        assert!(!python(file, key).await.status.success(), "{was}");
    }
    let mut proof: Value = serde_json::from_str(&proof).unwrap();
    proof["rotations"] = serde_json::json!([]);
    let unnamed: Proof = serde_json::from_value(proof).unwrap();
    assert!(unnamed.check(&trusted).is_err(), "a key that nobody has named");
}

async fn python(proof: &str, key: &str) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/verify_ledger_proof.py");
    Command::new("python3").args([script, proof, key]).output().await.expect("python3 is there")
}

#[tokio::test]
async fn an_older_checkpoint_is_the_beginning_of_the_newest() {
    let it = log_of_700().await;
    let older = ledger::newest(it.pool()).await.unwrap().unwrap().checkpoint;
    it.append(900).await;
    it.close().await;
    let newest = ledger::newest(it.pool()).await.unwrap().unwrap();
    let mut db = it.pool().acquire().await.unwrap();
    let extension = ledger::extension(&mut db, &newest, older.size).await.unwrap().unwrap();
    let path: Vec<ledger::Hash> = extension.path.iter().map(|hash| decode(hash)).collect();
    let newest = (newest.checkpoint.size, newest.checkpoint.root);
    assert!(proves_consistency((older.size, older.root), newest, &path));
    assert!(!proves_consistency((older.size, newest.1), newest, &path));
}

fn decode(text: &str) -> ledger::Hash {
    BASE64.decode(text).unwrap().try_into().unwrap()
}

#[tokio::test]
async fn two_processes_and_busy_writers_make_one_chain_and_empty_hours_are_in_it() {
    let it = Proved::start().await;
    let options = LedgerOptions {
        batch: Duration::from_millis(20),
        idle: Duration::from_millis(100),
        anchor: Duration::from_millis(50),
        poll: Duration::from_millis(5),
    };
    let anchors = || {
        vec![
            providers::anchor::open("file:anchor", it.dir.path(), &providers::anchor::Keys::default())
                .unwrap(),
        ]
    };
    it.close().await;
    let start = || Ledger::start(it.pool().clone(), it.keys.clone(), anchors(), options, Utc::now);
    let (one, other) = (start(), start());
    let commands = Arc::new(it.bus.commands.clone());
    let writers = (0..4).map(|writer| {
        let commands = commands.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                let id = TeamId(Uuid::now_v7());
                let slug = format!("team-{writer}-{n}").parse().unwrap();
                let create = TeamCommand::CreateTeam {
                    name: "Acme".parse().unwrap(),
                    slug,
                    owner: Uuid::now_v7().into(),
                };
                commands.team(id, create, &context()).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let empty = "SELECT count(*) FROM ledger_checkpoints WHERE size = 200 AND leaves = ''";
    for tries in 0.. {
        let found: i64 = sqlx::query_scalar(empty).fetch_one(it.pool()).await.unwrap();
        if found >= 2 {
            break;
        }
        assert!(tries < 1000, "there are no empty checkpoints");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    one.stop().await;
    other.stop().await;
    let report = it.verify(true).await;
    assert_eq!((report.covered, report.found), (200, 0), "{:?}", report.findings);
    assert!(report.anchored > 0);
    let numbers: (i64, i64) = sqlx::query_as("SELECT count(*), max(number) FROM ledger_checkpoints")
        .fetch_one(it.pool())
        .await
        .unwrap();
    assert_eq!(numbers.0, numbers.1);
}

#[tokio::test]
async fn the_platform_proves_its_log_to_who_may_read_the_audit() {
    let mut app = TestApp::start_with(&[
        ("MASTRA_ADMIN_LEDGER_SECONDS", "0"),
        ("MASTRA_ADMIN_LEDGER_ANCHOR_SECONDS", "0"),
    ])
    .await;
    let owner = app.owner().await;
    let made = owner.post("/teams", serde_json::json!({ "name": "Acme", "slug": "acme" })).await;
    let position: i64 = made.headers["x-event-position"].to_str().unwrap().parse().unwrap();
    join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    app.kill_and_restart().await;

    let at = format!("/audit/proof/{position}");
    let owner = app.owner().await;
    app.wait_until("it is covered", Duration::from_secs(30), async || owner.get(&at).await.status == 200)
        .await;
    let proof = owner.get(&at).await;
    let viewer = app.sign_in("viewer@example.org").await;
    let stranger = app.sign_in("stranger@example.org").await;
    for (who, status) in [(&viewer, 404), (&stranger, 404), (&app.nobody(), 401)] {
        assert_eq!(who.get(&at).await.status, status);
    }
    for nothing in ["/audit/proof/999999", "/audit/proof/0", "/audit/proof/x", "/audit/proof/1"] {
        assert_eq!(owner.get(nothing).await.status, 404, "{nothing}");
    }

    let dir = app.dir.path().to_owned();
    let (file, key) = (dir.join("proof.json"), dir.join("key.pub"));
    std::fs::write(&file, &proof.text).unwrap();
    let keys = owner.get("/audit/key").await.expect(200);
    std::fs::write(&key, keys["keys"][0].as_str().unwrap()).unwrap();
    let checked = python(file.to_str().unwrap(), key.to_str().unwrap()).await;
    assert!(checked.status.success() && said(&checked).contains("team.created"), "{}", said(&checked));

    let newest = owner.get("/audit/checkpoint").await.expect(200);
    let since = owner.get("/audit/checkpoint?from=1").await.expect(200);
    assert!(since["consistency"]["path"].as_array().is_some_and(|path| !path.is_empty()), "{since}");
    assert_eq!(owner.get("/audit/checkpoint?from=0").await.status, 422);
    assert!(newest["checkpoint"].as_str().unwrap().starts_with("mastra-admin/"));

    let anchor = dir.join("data/ledger.anchor.ndjson");
    app.wait_until("it is anchored", Duration::from_secs(30), async || anchor.exists()).await;
    let verified =
        tool(&app.db.url(), &dir.join("data"), &["verify", "--anchor", anchor.to_str().unwrap()]).await;
    assert!(verified.status.success(), "{}", said(&verified));
    let metrics = owner.get("//metrics").await.text;
    for gauge in ["ledger_lag_events", "ledger_checkpoint_age_seconds", "ledger_anchor_age_seconds"] {
        assert!(metrics.contains(gauge), "{gauge}");
    }
}
