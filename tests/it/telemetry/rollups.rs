//! Days that are rolled up in ClickHouse: they say what the rows say, and what PostgreSQL says.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::ports::telemetry::{
    Call, Cost, Counting, Filter, NewCost, Period, Rating, Span, SpanId, Status, Telemetry, Tenant, Usage,
};
use providers::observability::clickhouse::{ClickHouseRating, ClickHouseStore};
use providers::observability::postgres_spans::{PostgresRating, PostgresSpans};
use tests::clickhouse::ClickHouse;
use tests::postgres::TestDb;

use super::contract::{span, tenant};
use super::store::signals;

/// So many days ago, at this minute of the day.
fn ago(days: i64, minute: i64) -> DateTime<Utc> {
    day(days).and_time(NaiveTime::MIN).and_utc() + TimeDelta::minutes(minute)
}

/// Of all that is told here, also when midnight comes.
static TODAY: LazyLock<NaiveDate> = LazyLock::new(|| Utc::now().date_naive());

fn day(days: i64) -> NaiveDate {
    *TODAY - TimeDelta::days(days)
}

/// A root that took so long.
fn root(trace: u64, number: u64, at: DateTime<Utc>, duration_us: i64) -> Span {
    let status = if duration_us % 7 == 0 { Status::Error } else { Status::Ok };
    Span { is_root: true, parent_id: None, duration_us, status, ..span(trace, number, at) }
}

/// What counts, below another one.
fn counted(trace: u64, [number, above]: [u64; 2], at: DateTime<Utc>, counting: Counting) -> Span {
    let model = ["gpt-4o-mini", "claude", ""][usize::try_from(trace % 3).unwrap()];
    let picos = i64::try_from(trace * 1_000_003 + number).unwrap();
    Span {
        parent_id: Some(format!("{above:016x}").parse::<SpanId>().unwrap()),
        model: (!trace.is_multiple_of(4)).then(|| model.to_owned()),
        provider: (!trace.is_multiple_of(5)).then(|| "openai".to_owned()),
        usage: Usage { input: 11 + picos % 90, output: 5, cache_read: 1, reasoning: 2, ..Usage::default() },
        counting,
        cost: (trace % 3 != 2).then(|| Cost { picos, price: "p".into() }),
        ..span(trace, number, at)
    }
}

/// Eight days and today: plain traces, traces with roots on several days, sums with calls beside them and far off.
fn world() -> Vec<Span> {
    use Counting::{Call, Never, UnlessBelow};
    let mut rows = vec![];
    for days in 0..=8_i64 {
        let first = u64::try_from(days).unwrap() * 100;
        for n in 1..=9_u64 {
            let at = ago(days, 0) + TimeDelta::seconds(n.cast_signed() * if days == 0 { 1 } else { 7000 });
            let trace = first + n;
            rows.push(root(trace, 1, at, 1000 * n.cast_signed() + 13 * days));
            rows.push(counted(trace, [2, 1], at, UnlessBelow));
            if n % 3 != 0 {
                rows.push(Span { counting: Never, ..counted(trace, [3, 2], at, Never) });
                rows.push(counted(trace, [4, 3], at, Call));
            }
        }
        // Over midnight: a second root, and the call of a sum, on the next day.
        if days > 0 {
            let (late, next) = (ago(days, 1439), ago(days - 1, 0));
            rows.push(root(first + 20, 1, late, 777));
            rows.push(root(first + 20, 9, next, 778));
            rows.push(counted(first + 20, [2, 1], late, UnlessBelow));
            rows.push(counted(first + 20, [3, 2], next, Call));
            // The call began before its sum.
            rows.push(counted(first + 21, [2, 1], next, UnlessBelow));
            rows.push(counted(first + 21, [3, 2], late, Call));
            // Between them, what is below the one and above the other is on the next day.
            rows.push(counted(first + 22, [2, 1], late, UnlessBelow));
            rows.push(counted(first + 22, [3, 2], next, Never));
            rows.push(counted(first + 22, [4, 3], next, Call));
        }
    }
    // Roots and calls days apart.
    rows.extend([root(900, 1, ago(8, 3), 90), root(900, 2, ago(5, 3), 91), root(900, 3, ago(2, 3), 92)]);
    rows.extend([counted(901, [2, 1], ago(7, 3), UnlessBelow), counted(901, [3, 2], ago(4, 3), Call)]);
    rows.extend([counted(902, [2, 1], ago(3, 3), UnlessBelow), counted(902, [3, 2], ago(6, 3), Call)]);
    rows
}

fn periods() -> Vec<Period> {
    let mut all = vec![Period::default()];
    for (from, to) in [(6, 2), (8, 0), (2, 5), (3, 1)] {
        all.push(Period { from: Some(ago(from, 0)), to: Some(ago(to, 0)) });
        all.push(Period { from: Some(ago(from, 700)), to: Some(ago(to, 1)) });
        all.push(Period { from: (to == 2).then(|| ago(from, 1)), to: (from > 2).then(|| ago(to, 1439)) });
    }
    all
}

struct Both {
    engine: ClickHouse,
    clickhouse: ClickHouseStore,
    postgres: PostgresSpans,
    mine: Tenant,
    db: TestDb,
}

impl Both {
    async fn write(&self, rows: Vec<Span>) {
        for batch in rows.chunks(60) {
            let one = self.clickhouse.write(self.mine, batch.to_vec()).await.unwrap();
            assert_eq!(one, self.postgres.write(self.mine, batch.to_vec()).await.unwrap());
        }
    }

    async fn say_the_same(&self, when: &str) {
        for period in periods() {
            let one = self.clickhouse.stats(self.mine, period).await.unwrap();
            assert_eq!(one, self.postgres.stats(self.mine, period).await.unwrap(), "{when}: {period:?}");
            let one = self.clickhouse.usage(self.mine, period).await.unwrap();
            assert_eq!(one, self.postgres.usage(self.mine, period).await.unwrap(), "{when}: {period:?}");
            let one = self.clickhouse.costs(self.mine, period).await.unwrap();
            assert_eq!(one, self.postgres.costs(self.mine, period).await.unwrap(), "{when}: {period:?}");
            let listed = Filter { period, limit: 1000, ..Filter::default() };
            let one = self.clickhouse.traces(self.mine, &listed).await.unwrap();
            assert_eq!(one, self.postgres.traces(self.mine, &listed).await.unwrap(), "{when}: {period:?}");
        }
    }

    /// As if all until now had been an hour earlier.
    async fn an_hour_later(&self) {
        for (table, column) in [("span_days", "written_at"), ("rolled_days", "rolled_at")] {
            let sql = format!(
                "ALTER TABLE {table} UPDATE {column} = {column} - toIntervalHour(1) WHERE 1 SETTINGS mutations_sync = 2"
            );
            self.engine.ask(&sql).await;
        }
    }

    async fn keep_house(&self) {
        self.clickhouse.keep_house(ago(0, 720)).await.unwrap();
    }

    async fn rolled(&self) -> String {
        let sql = "SELECT kind, count(), uniqExact(day) FROM rolled_days GROUP BY kind ORDER BY kind";
        self.engine.ask(sql).await
    }
}

async fn both() -> Both {
    let (engine, db) = (ClickHouse::start().await, signals().await);
    let (clickhouse, postgres) = (engine.store(30), PostgresSpans::new(db.pool().clone(), 30));
    let both = Both { engine, clickhouse, postgres, mine: tenant(), db };
    both.write(world()).await;
    // Another project, of which nothing may be seen.
    both.clickhouse.write(tenant(), world()).await.unwrap();
    both
}

/// Two servers have written all of it at the same moment.
async fn twice(engine: &ClickHouse) {
    let columns = engine.columns("spans", &[]).await;
    engine.ask("SYSTEM STOP MERGES spans").await;
    engine.ask(&format!("INSERT INTO spans ({columns}) SELECT {columns} FROM spans")).await;
}

#[tokio::test]
async fn what_is_rolled_up_says_what_the_rows_say() {
    let both = both().await;
    twice(&both.engine).await;
    both.say_the_same("rows").await;
    both.keep_house().await;
    assert_eq!(both.rolled().await, "", "they have just been written");
    both.an_hour_later().await;
    both.keep_house().await;
    assert_eq!(both.rolled().await, "models\t14\t7\ntraces\t16\t8", "of two projects");
    both.say_the_same("rolled up").await;
    both.keep_house().await;
    assert_eq!(both.rolled().await, "models\t14\t7\ntraces\t16\t8", "nothing is rolled up again");

    // Late: the first root of a trace, the call of a sum, and what is between them.
    let late = [
        root(405, 9, ago(7, 5), 12),
        counted(309, [8, 2], ago(4, 5), Counting::Call),
        counted(606, [7, 8], ago(6, 6), Counting::Call),
        counted(606, [8, 2], ago(5, 6), Counting::Never),
        counted(703, [8, 2], ago(4, 5), Counting::Call),
    ];
    for row in late {
        both.write(vec![row]).await;
        both.say_the_same("late").await;
    }
    both.an_hour_later().await;
    let other = both.engine.store(30);
    let (one, another) = tokio::join!(both.clickhouse.keep_house(ago(0, 720)), other.keep_house(ago(0, 720)));
    one.and(another).unwrap();
    assert!(both.rolled().await.starts_with("models\t"), "{}", both.rolled().await);
    both.say_the_same("rolled up again").await;
    let all = both.engine.ask("SELECT count() FROM rolled_days").await;
    both.an_hour_later().await;
    both.an_hour_later().await;
    both.keep_house().await;
    let left = both.engine.ask("SELECT count() FROM rolled_days").await;
    assert!(left.parse::<u64>().unwrap() < all.parse().unwrap(), "{left} of {all}");
    both.say_the_same("swept").await;
}

#[tokio::test]
async fn what_is_rolled_up_is_read_and_its_rows_are_not() {
    let both = both().await;
    let late = counted(405, [60, 1], ago(4, 9), Counting::Call);
    both.an_hour_later().await;
    both.keep_house().await;
    // Behind the store's back.
    let gone = format!(
        "ALTER TABLE spans DELETE WHERE toDate(started_at) = '{}' SETTINGS mutations_sync = 2",
        day(4)
    );
    both.engine.ask(&gone).await;
    let period = Period { from: Some(ago(4, 0)), to: Some(ago(3, 0)) };
    let stats = both.clickhouse.stats(both.mine, period).await.unwrap();
    let usage = both.clickhouse.usage(both.mine, period).await.unwrap();
    assert_eq!(stats, both.postgres.stats(both.mine, period).await.unwrap());
    assert_eq!(usage, both.postgres.usage(both.mine, period).await.unwrap());
    assert!(stats.traces >= 10 && usage.len() > 5, "{stats:?} {usage:?}");
    // One late row, and rows are read.
    both.clickhouse.write(both.mine, vec![late]).await.unwrap();
    assert_eq!(both.clickhouse.stats(both.mine, period).await.unwrap().traces, 0);
    let usage = both.clickhouse.usage(both.mine, period).await.unwrap();
    assert_eq!(usage.iter().map(|it| it.calls).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn what_was_being_rolled_up_when_the_engine_was_killed_is_not_read() {
    let mut both = both().await;
    both.an_hour_later().await;
    let other = both.engine.store(30);
    let rolling = tokio::spawn(async move { other.keep_house(ago(0, 720)).await.is_ok() });
    let begun = async || both.engine.ask("SELECT count() FROM trace_days").await != "0";
    while !begun().await {
        tokio::task::yield_now().await;
    }
    both.engine.kill().await;
    rolling.await.unwrap();
    both.engine.start_again().await;
    // What a kill between the rows and the word that they are whole leaves.
    both.engine
        .ask(
            "INSERT INTO trace_days SELECT team_id, project_id, day, generateUUIDv4(), 9, 9, 9, [9], expires_first
               FROM span_days",
        )
        .await;
    both.say_the_same("killed").await;
    both.keep_house().await;
    assert_eq!(both.rolled().await, "models\t14\t7\ntraces\t16\t8");
    both.say_the_same("rolled up after all").await;
}

#[tokio::test]
async fn what_goes_is_not_in_what_is_rolled_up() {
    let both = both().await;
    both.an_hour_later().await;
    both.keep_house().await;
    both.say_the_same("rolled up").await;
    let gone = both.clickhouse.forget(both.mine, day(6)).await.unwrap();
    assert_eq!(gone, both.postgres.forget(both.mine, day(6)).await.unwrap());
    both.say_the_same("forgotten").await;
    both.keep_house().await;
    both.say_the_same("forgotten and rolled up").await;
    // Days as a whole: five are kept.
    let (few, same) = (both.engine.store(4), PostgresSpans::new(both.db.pool().clone(), 4));
    few.keep_house(ago(0, 720)).await.unwrap();
    same.keep_house(ago(0, 720)).await.unwrap();
    both.say_the_same("dropped").await;
    let first = both.engine.ask("SELECT min(day) FROM span_days").await;
    assert_eq!(first, day(4).to_string());
    for table in ["trace_days", "model_days", "rolled_days"] {
        let first = both.engine.ask(&format!("SELECT min(day) >= '{first}' FROM {table}")).await;
        assert_eq!(first, "1", "{table}");
    }
    // What the engine may drop by itself is not answered from what is rolled up.
    let soon = "ALTER TABLE span_days UPDATE expires_first = today() - 1 WHERE 1 SETTINGS mutations_sync = 2";
    both.engine.ask(soon).await;
    both.engine
        .ask("ALTER TABLE trace_days UPDATE traces = traces + 1 WHERE 1 SETTINGS mutations_sync = 2")
        .await;
    both.say_the_same("expired").await;
}

#[tokio::test]
async fn what_is_reckoned_again_is_seen_in_days_that_were_rolled_up() {
    let both = both().await;
    both.an_hour_later().await;
    both.keep_house().await;
    both.say_the_same("rolled up").await;
    let clickhouse = ClickHouseRating::open(&both.engine.target()).await.unwrap();
    let postgres = PostgresRating::new(both.db.pool().clone());
    let (period, before) = (Period { from: Some(ago(4, 0)), to: Some(ago(3, 0)) }, Period::default());
    let spent = async || both.clickhouse.usage(both.mine, period).await.unwrap();
    let was: i128 = spent().await.iter().map(|model| model.cost_picos).sum();
    for rating in [&clickhouse as &dyn Rating, &postgres] {
        let calls = rating.calls(both.mine, day(4), before, None, 1000).await.unwrap();
        let dearer = |picos: i64| Cost { picos: picos + 1_000_000_000_000, price: "q".into() };
        let cost = |call: &Call| dearer(call.cost.as_ref().map_or(0, |cost| cost.picos));
        let new: Vec<_> = calls.into_iter().map(|call| NewCost { cost: cost(&call), call }).collect();
        assert!(new.len() > 10, "{}", new.len());
        rating.set_costs(both.mine, day(4), &new).await.unwrap();
        rating.changed(both.mine, day(4)).await.unwrap();
    }
    let is: i128 = spent().await.iter().map(|model| model.cost_picos).sum();
    assert!(is > was + 10_000_000_000_000, "{was} {is}");
    both.say_the_same("reckoned again").await;
    both.an_hour_later().await;
    both.keep_house().await;
    both.say_the_same("reckoned and rolled up again").await;
}

#[tokio::test]
async fn days_from_before_roll_ups_are_rolled_up_as_well() {
    let both = both().await;
    both.engine.ask("TRUNCATE TABLE span_days").await;
    both.say_the_same("nothing is noted").await;
    tokio::time::timeout(Duration::from_secs(60), both.keep_house()).await.unwrap();
    assert_eq!(both.rolled().await, "", "it is noted as of now");
    both.an_hour_later().await;
    both.keep_house().await;
    assert_eq!(both.rolled().await, "models\t14\t7\ntraces\t16\t8");
    both.say_the_same("rolled up").await;
}
