//! What is done to rows, hashes, checkpoints, the end of the log and the key is found and named.

use chrono::Utc;
use projections::ledger::{self, Finding, KeyRing, LedgerError};
use serde_json::Value;

use super::{log_of_700, said};

fn missing(from: i64, to: i64) -> Finding {
    Finding::Missing { from, to }
}

fn changed(position: i64) -> Finding {
    Finding::Changed { position }
}

#[tokio::test]
async fn whatever_is_done_to_a_row_is_found_and_its_position_named() {
    let it = log_of_700().await;
    sqlx::query("CREATE TABLE saved AS SELECT * FROM events").execute(it.pool()).await.unwrap();
    // Who owns the machine has more than triggers out of his way.
    sqlx::query("DROP INDEX events_event_id").execute(it.pool()).await.unwrap();
    let good = it.verify(true).await;
    assert_eq!((good.events, good.covered, good.checkpoints, good.anchored), (705, 700, 3, 3));
    assert_eq!(good.findings, []);

    let cases: [(&str, Vec<Finding>); 11] = [
        ("UPDATE events SET payload = (payload::text || ' ')::json WHERE position = 7", vec![changed(7)]),
        ("UPDATE events SET metadata = '{\"actor\":\"x\"}' WHERE position = 700", vec![changed(700)]),
        (
            "UPDATE events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 301",
            vec![changed(301)],
        ),
        ("UPDATE events SET team_id = gen_random_uuid() WHERE position = 1", vec![changed(1)]),
        ("UPDATE events SET event_id = gen_random_uuid() WHERE position = 2", vec![changed(2)]),
        ("UPDATE events SET event_version = '2', event_type = 'x' WHERE position = 3", vec![changed(3)]),
        ("DELETE FROM events WHERE position IN (100, 101, 450)", vec![missing(100, 101), missing(450, 450)]),
        (
            "UPDATE events SET position = -1 WHERE position = 10; UPDATE events SET position = 10 WHERE position = 600;
             UPDATE events SET position = 600 WHERE position = -1",
            vec![changed(10), changed(600)],
        ),
        (
            "INSERT INTO events SELECT (jsonb_populate_record(e, '{\"position\":0,\"sequence\":2}')).* FROM saved e
              WHERE position = 5",
            vec![Finding::Added { position: 0 }],
        ),
        // Not covered yet, and seen all the same.
        ("DELETE FROM events WHERE position = 703", vec![missing(703, 703)]),
        ("DELETE FROM events WHERE position > 690", vec![missing(691, 700)]),
    ];
    for (sql, findings) in cases {
        it.tamper(sql).await;
        assert_eq!(it.verify(true).await.findings, findings, "{sql}");
        let output = it.tool(&["verify"]).await;
        assert_eq!(output.status.code(), Some(3), "{sql}: {}", said(&output));
        assert!(said(&output).contains("position"), "{}", said(&output));
        it.tamper("DELETE FROM events; INSERT INTO events SELECT * FROM saved").await;
    }
    assert_eq!(it.tool(&["verify"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn who_changes_the_ledger_too_lacks_the_key() {
    let it = log_of_700().await;
    sqlx::raw_sql(
        "CREATE TABLE saved AS SELECT * FROM ledger_checkpoints; CREATE TABLE saved_nodes AS SELECT * FROM ledger_nodes",
    )
    .execute(it.pool())
    .await
    .unwrap();
    let restore = "DELETE FROM ledger_checkpoints; DELETE FROM ledger_nodes;
                   INSERT INTO ledger_checkpoints SELECT * FROM saved; INSERT INTO ledger_nodes SELECT * FROM saved_nodes";

    // The stored leaves are made to fit the event.
    it.tamper(
        "UPDATE ledger_checkpoints SET leaves = overlay(leaves PLACING decode(repeat('00', 32), 'hex') FROM 33)
          WHERE number = 2",
    )
    .await;
    let root = Finding::Root { number: 2, from: 301, to: 450 };
    assert_eq!(it.verify(false).await.findings, [changed(302), root]);
    it.tamper(restore).await;

    it.tamper("UPDATE ledger_nodes SET hash = decode(repeat('00', 32), 'hex') WHERE index = 1").await;
    assert_eq!(it.verify(false).await.findings, [Finding::Node { from: 257, to: 512 }]);
    let refused = ledger::close(it.pool(), &it.keys, true, Utc::now()).await;
    assert!(matches!(refused, Err(LedgerError::Damaged(_))), "nothing is signed on top of it: {refused:?}");
    it.tamper(restore).await;

    it.tamper("DELETE FROM ledger_checkpoints WHERE number = 2").await;
    let found = it.verify(false).await.findings;
    assert!(matches!(found[..], [Finding::Checkpoint { number: 3, from: 301, to: 700, .. }]), "{found:?}");
    it.tamper(restore).await;

    // Everything is made anew, consistently, with another key.
    it.tamper("UPDATE events SET payload = '{}' WHERE position = 400; DELETE FROM ledger_checkpoints; DELETE FROM ledger_nodes")
        .await;
    let elsewhere = tempfile::tempdir().unwrap();
    ledger::close(it.pool(), &KeyRing::new(elsewhere.path()), true, Utc::now()).await.unwrap();
    let forged = it.verify(false).await.findings;
    assert!(matches!(forged[..], [Finding::Checkpoint { number: 1, from: 1, to: 705, .. }]), "{forged:?}");

    // And who has even the key is contradicted by who has seen another log.
    it.tamper("DELETE FROM ledger_checkpoints; DELETE FROM ledger_nodes").await;
    it.close().await;
    assert_eq!(it.verify(false).await.findings, []);
    let found = it.verify(true).await.findings;
    assert!(matches!(found[..], [Finding::Anchor { number: 1, from: 1, to: 300, .. }]), "{found:?}");
}

#[tokio::test]
async fn a_tail_that_was_cut_is_missed_by_who_has_seen_it() {
    let it = log_of_700().await;
    it.tamper(
        "DELETE FROM events WHERE position > 420;
         DELETE FROM ledger_checkpoints WHERE number > 1; DELETE FROM ledger_nodes WHERE index > 0",
    )
    .await;
    assert_eq!(it.verify(false).await.findings, [], "nothing in the database tells of it");
    let found = it.verify(true).await.findings;
    assert!(matches!(found[..], [Finding::CutTail { from: 421, to: 700, .. }]), "{found:?}");
    let anchor = it.dir.path().join("anchor");
    let output = it.tool(&["verify", "--json", "--anchor", anchor.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["report"]["findings"][0]["kind"], "cut_tail", "{report}");

    // It does not help to go on as if nothing had been.
    it.append(400).await;
    it.close().await;
    let found = it.verify(true).await.findings;
    assert!(matches!(found[..], [Finding::Anchor { number: 2, from: 301, to: 450, .. }]), "{found:?}");
}

#[tokio::test]
async fn the_leaf_is_the_same_in_every_time_zone_and_style() {
    let it = log_of_700().await;
    for (zone, style) in [("Asia/Kathmandu", "German"), ("America/St_Johns", "SQL")] {
        let options = [
            ("timezone", zone),
            ("datestyle", style),
            ("intervalstyle", "sql_standard"),
            ("extra_float_digits", "0"),
        ];
        let pool = sqlx::PgPool::connect_lazy_with(it.bus.db.options().options(options));
        let report = ledger::verify(&pool, &it.keys.public().unwrap(), None).await.unwrap();
        assert_eq!((report.covered, report.found), (700, 0), "{zone}");
    }
}

#[tokio::test]
async fn a_lost_key_is_seen_and_only_a_new_public_key_helps() {
    let it = log_of_700().await;
    std::fs::remove_file(it.dir.path().join("ledger.key")).unwrap();
    let refused = ledger::close(it.pool(), &it.keys, true, Utc::now()).await;
    assert!(matches!(refused, Err(LedgerError::NoKey(_))), "{refused:?}");
    let old = it.keys.public().unwrap();
    assert!(it.tool(&["rotate-key", "--lost"]).await.status.success());
    it.close().await;
    assert_eq!(it.verify(true).await.findings, []);
    let report = ledger::verify(it.pool(), &old, None).await.unwrap();
    assert!(matches!(report.findings[..], [Finding::Checkpoint { number: 4, .. }]), "{:?}", report.findings);
}

#[tokio::test]
async fn evidence_is_never_changed() {
    let it = log_of_700().await;
    for table in ["ledger_checkpoints", "ledger_nodes"] {
        for sql in [format!("DELETE FROM {table}"), format!("TRUNCATE {table}")] {
            let error = sqlx::query(&sql).execute(it.pool()).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{error}");
        }
    }
}
