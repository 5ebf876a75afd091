//! A bucket as a witness: what was signed is there, nothing of it is written over, and the log is compared with it.

use std::path::Path;
use std::time::Duration;

use domain::ports::anchor::AnchoredCheckpoint;
use domain::secret::Secret;
use providers::anchor::{Keys, open};
use tests::app::TestApp;
use tests::s3::{BUCKET, Bucket};
use tests::world::team;

use super::{said, tool};

/// The names of the objects below a prefix, in order.
async fn objects(bucket: &Bucket, prefix: &str) -> Vec<String> {
    let listed = reqwest::get(bucket.url("?list-type=2")).await.unwrap().text().await.unwrap();
    let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
    let mut keys: Vec<String> = keys.filter(|key| key.starts_with(prefix)).map(str::to_owned).collect();
    keys.sort();
    keys
}

async fn text(bucket: &Bucket, key: &str) -> String {
    let answer = reqwest::get(bucket.url(key)).await.unwrap().error_for_status().unwrap();
    answer.text().await.unwrap()
}

/// A copy of what the bucket has, as `aws s3 sync` makes it.
async fn copy(bucket: &Bucket, prefix: &str, to: &Path) {
    for key in objects(bucket, prefix).await {
        let name = key.rsplit('/').next().unwrap();
        std::fs::write(to.join(name), text(bucket, &key).await).unwrap();
    }
}

#[tokio::test]
async fn a_bucket_witnesses_the_log_and_shows_that_its_end_was_cut() {
    let bucket = Bucket::start().await;
    let word = format!("s3:{BUCKET}/witness?endpoint={}", bucket.endpoint);
    let app = TestApp::start_with(&[
        ("MASTRA_ADMIN_LEDGER_ANCHORS", word.as_str()),
        ("MASTRA_ADMIN_LEDGER_SECONDS", "0"),
        ("MASTRA_ADMIN_LEDGER_ANCHOR_SECONDS", "0"),
        ("MASTRA_ADMIN_LEDGER_S3_ACCESS_KEY_ID", "test"),
        ("MASTRA_ADMIN_LEDGER_S3_SECRET_ACCESS_KEY", "test"),
    ])
    .await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let head: i64 =
        sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap();
    app.wait_until("the bucket knows the log to its end", Duration::from_secs(30), async || {
        let Some(last) = objects(&bucket, "witness/").await.pop() else { return false };
        // The second line of a note says how many events it covers.
        text(&bucket, &last).await.lines().nth(1).and_then(|size| size.parse().ok()) >= Some(head)
    })
    .await;

    let (seen, data) = (tempfile::tempdir().unwrap(), app.dir.path().join("data"));
    copy(&bucket, "witness/", seen.path()).await;
    let verify = ["verify", "--anchor", seen.path().to_str().unwrap()];
    let output = tool(&app.db.url(), &data, &verify).await;
    assert!(output.status.success() && !said(&output).contains(" 0 of them"), "{}", said(&output));

    let cut = format!(
        "BEGIN; SET LOCAL session_replication_role = replica;
         DELETE FROM events WHERE position = {head};
         DELETE FROM ledger_checkpoints WHERE size >= {head}; COMMIT"
    );
    sqlx::raw_sql(&cut).execute(app.db.pool()).await.unwrap();
    let output = tool(&app.db.url(), &data, &verify).await;
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&head.to_string()), "{}", said(&output));
}

#[tokio::test]
async fn what_a_bucket_has_is_not_written_over() {
    let bucket = Bucket::start().await;
    let keys = Keys { token: None, s3: Some((Secret::new("test"), Secret::new("test"))) };
    let word = format!("s3:{BUCKET}/a/b?endpoint={}", bucket.endpoint);
    let anchor = open(&word, Path::new("/"), &keys).unwrap();
    assert_eq!(anchor.name(), format!("s3:{BUCKET}/a/b"));
    let first = AnchoredCheckpoint { number: 7, size: 70, note: "the note\n\n\u{2014} x\n".to_owned() };
    anchor.keep(&first).await.unwrap();
    anchor.keep(&first).await.expect("handed over again");
    let other = AnchoredCheckpoint { note: "another\n".to_owned(), ..first.clone() };
    let refused = anchor.keep(&other).await.unwrap_err().to_string();
    assert!(refused.contains("something else"), "{refused}");
    assert_eq!(text(&bucket, "a/b/00000000000000000007.txt").await, first.note);
    drop(bucket);
    anchor.keep(&first).await.unwrap_err();
}
