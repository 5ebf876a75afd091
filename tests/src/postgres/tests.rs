//! The kit keeps its word.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;

static TEMPLATE: Template = Template::new("kit");
static FILLED: AtomicUsize = AtomicUsize::new(0);

async fn database() -> TestDb {
    TestDb::create(&TEMPLATE, async |pool| {
        FILLED.fetch_add(1, Ordering::SeqCst);
        sqlx::raw_sql("CREATE TABLE things AS SELECT 1 AS n").execute(pool).await.unwrap();
    })
    .await
}

async fn things(database: &TestDb) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM things").fetch_one(database.pool()).await.unwrap()
}

/// Each has its own runtime, as every test has.
async fn a_test_that_writes() {
    let database = database().await;
    sqlx::raw_sql("INSERT INTO things VALUES (2), (3)").execute(database.pool()).await.unwrap();
    assert_eq!(things(&database).await, 3);
    assert_eq!(FILLED.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_database_starts_as_its_template() {
    a_test_that_writes().await;
    let (one, other) = tokio::join!(database(), database());
    assert_eq!(things(&one).await, 1);
    assert_eq!(things(&other).await, 1);
    assert_ne!(one.url(), other.url());
}

#[tokio::test]
async fn databases_of_other_tests_are_not_seen() {
    a_test_that_writes().await;
    a_test_that_writes().await;
}

#[tokio::test]
async fn its_url_leads_to_it() {
    let database = database().await;
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&pool).await.unwrap();
    assert_eq!(name, database.name);
    assert_eq!(database.options().get_database(), Some(name.as_str()));
}

#[tokio::test]
async fn a_dropped_database_is_gone_although_it_was_in_use() {
    let one = database().await;
    let (name, pool) = (one.name.clone(), one.pool.clone());
    let _in_use = pool.acquire().await.unwrap();
    drop(one);
    let other = database().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(other.pool())
            .await
            .unwrap();
        if !there {
            return;
        }
        assert!(Instant::now() < deadline, "it is still there");
        tokio::task::yield_now().await;
    }
}
