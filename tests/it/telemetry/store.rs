//! The store in PostgreSQL: it keeps the contract, and days come and go as a whole.

use chrono::{Days, TimeDelta, Utc};
use domain::ports::telemetry::{Period, Telemetry, TelemetryError};
use providers::observability::postgres_spans::PostgresSpans;
use tests::postgres::{Template, TestDb};

use super::contract::{self, span, tenant};

static SIGNALS: Template = Template::new("signals");

/// Of measurements, and of the log, which is not there.
const UNKNOWN_SUMS: &str =
    include_str!("../../../migrations/postgres/0054_unknown_sums_and_deleted_projects.sql");

/// A database with all tables of signals.
pub(super) async fn signals() -> TestDb {
    TestDb::create(&SIGNALS, async |pool| {
        for sql in [
            include_str!("../../../migrations/postgres/0037_spans.sql"),
            include_str!("../../../migrations/postgres/0043_signals.sql"),
            include_str!("../../../migrations/postgres/0050_errors.sql"),
            UNKNOWN_SUMS.split("-- What is kept").next().expect("it has a beginning"),
        ] {
            sqlx::raw_sql(sql).execute(pool).await.expect("the migration applies");
        }
    })
    .await
}

#[tokio::test]
async fn postgresql_keeps_the_contract() {
    let db = signals().await;
    contract::all(&PostgresSpans::new(db.pool().clone(), 30)).await;
}

#[tokio::test]
async fn days_are_made_ahead_and_dropped_when_their_time_is_over() {
    let db = signals().await;
    let (store, mine, now) = (PostgresSpans::new(db.pool().clone(), 30), tenant(), Utc::now());
    let days = async || {
        let sql = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'spans'::regclass";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(db.pool()).await.unwrap()
    };
    store.keep_house(now).await.unwrap();
    assert_eq!(days().await, 2, "today and tomorrow");
    let old = now - TimeDelta::days(30) + TimeDelta::hours(1);
    assert!(store.window(now).contains(&old) && !store.window(now).contains(&(now + TimeDelta::days(2))));
    store.write(mine, vec![span(1, 1, old), span(2, 1, now)]).await.unwrap();
    assert_eq!(days().await, 3);
    store.keep_house(now + TimeDelta::days(2)).await.unwrap();
    assert_eq!(store.stats(mine, Period::default()).await.unwrap().traces, 1);

    // Another server, which does not know that the day has gone.
    let other = PostgresSpans::new(db.pool().clone(), 90);
    other.write(mine, vec![span(3, 1, old)]).await.unwrap();
    sqlx::query("SELECT spans_drop_before($1)")
        .bind(now.date_naive() - Days::new(1))
        .execute(db.pool())
        .await
        .unwrap();
    assert_eq!(other.write(mine, vec![span(3, 1, old)]).await.unwrap().stored, 1);
}

#[tokio::test]
async fn the_newest_traces_are_read_from_the_newest_day() {
    let db = signals().await;
    let (store, mine, now) = (PostgresSpans::new(db.pool().clone(), 30), tenant(), Utc::now());
    for day in 0..5 {
        let at = |n: u64| now - TimeDelta::days(day) - TimeDelta::milliseconds(i64::try_from(n).unwrap());
        let spans = (1..=400).map(|n| span(n + 1000 * u64::try_from(day).unwrap(), 1, at(n))).collect();
        store.write(mine, spans).await.unwrap();
    }
    sqlx::query("ANALYZE spans").execute(db.pool()).await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar(&format!(
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT trace_id FROM spans r
          WHERE team_id = '{}' AND project_id = '{}' AND is_root
          ORDER BY day DESC, started_at DESC, trace_id DESC LIMIT 50",
        mine.team, mine.project
    ))
    .fetch_all(db.pool())
    .await
    .unwrap();
    let plan = plan.join("\n");
    assert_eq!(plan.matches("(never executed)").count(), 4, "older days are not read:\n{plan}");
    assert!(!plan.contains("Sort Key"), "nothing is sorted:\n{plan}");
}

#[tokio::test]
async fn a_store_that_is_away_says_so() {
    let db = signals().await;
    let store = PostgresSpans::new(db.pool().clone(), 30);
    db.pool().close().await;
    let failed = store.write(tenant(), vec![span(1, 1, Utc::now())]).await;
    assert!(matches!(failed, Err(TelemetryError::Store(_))), "{failed:?}");
}
