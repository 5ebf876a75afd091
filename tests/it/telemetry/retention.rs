//! How long a project keeps its telemetry: what is older is refused, and what is there already goes, in either store.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use domain::ports::telemetry::{LogFilter, MetricKind, Period, ScoreFilter, Signals, Telemetry, Tenant};
use providers::observability::postgres_signals::PostgresSignals;
use providers::observability::postgres_spans::PostgresSpans;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::{self, Project, team_and_project};

use super::contract::{span, tenant};
use super::logs::line;
use super::measurements::point;
use super::scores::score;
use super::{open, store};

/// Rows of two projects on three days; one of them forgets the first two.
async fn a_project_forgets_its_own(spans: &dyn Telemetry, signals: &dyn Signals) {
    let (mine, other, now) = (tenant(), tenant(), Utc::now());
    let ago = |days: i64| now - TimeDelta::days(days);
    for tenant in [mine, other] {
        for (n, days) in [(1, 0), (2, 1), (3, 2)] {
            spans.write(tenant, vec![span(n, 1, ago(days)), span(n, 2, ago(days))]).await.unwrap();
            signals.write_logs(tenant, vec![line(n, ago(days))]).await.unwrap();
            signals
                .write_points(tenant, vec![point(n, "x", MetricKind::Gauge, ago(days), 1.0)])
                .await
                .unwrap();
            signals.write_scores(tenant, vec![score(n, ago(days))]).await.unwrap();
        }
    }
    let today = now.date_naive();
    let left = async |tenant| {
        let traces = spans.stats(tenant, Period::default()).await.unwrap().traces;
        let lines = signals.logs(tenant, &LogFilter { limit: 9, ..LogFilter::default() }).await.unwrap();
        let scores =
            signals.scores(tenant, &ScoreFilter { limit: 9, ..ScoreFilter::default() }).await.unwrap();
        let first = |at: Option<DateTime<Utc>>| at.map(|at| at.date_naive());
        (traces, lines.len(), scores.len(), first(lines.last().map(|line| line.at)))
    };
    let day = |days: u64| -> NaiveDate { today.checked_sub_days(Days::new(days)).unwrap() };
    assert_eq!(spans.forget(mine, day(2)).await.unwrap(), 0, "nothing is older");
    assert_eq!(left(mine).await, (3, 3, 3, Some(day(2))));
    assert_eq!(spans.forget(mine, day(1)).await.unwrap(), 2);
    assert_eq!(signals.forget(mine, day(1)).await.unwrap(), 3);
    assert_eq!(left(mine).await, (2, 2, 2, Some(day(1))));
    assert_eq!(spans.forget(mine, today).await.unwrap(), 2);
    assert_eq!(signals.forget(mine, today).await.unwrap(), 3);
    assert_eq!(left(mine).await, (1, 1, 1, Some(today)));
    assert_eq!(left(other).await, (3, 3, 3, Some(day(2))));
    // What has gone is no repeat.
    assert_eq!(spans.write(mine, vec![span(3, 1, ago(2))]).await.unwrap().stored, 1);
}

#[tokio::test]
async fn a_project_forgets_its_own_in_postgresql() {
    let db = store::signals().await;
    let spans = PostgresSpans::new(db.pool().clone(), 30);
    a_project_forgets_its_own(&spans, &PostgresSignals::new(db.pool().clone(), 30)).await;
}

#[tokio::test]
async fn much_is_forgotten_in_many_statements_none_of_which_is_long() {
    let db = store::signals().await;
    let signals: &dyn Signals = &PostgresSignals::new(db.pool().clone(), 30);
    let (mine, at) = (tenant(), Utc::now() - TimeDelta::days(2));
    let lines = (1..=20_001).map(|n| line(n, at)).collect();
    assert_eq!(signals.write_logs(mine, lines).await.unwrap().stored, 20_001);
    let long = "CREATE FUNCTION long() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  IF (SELECT count(*) FROM gone) > 10000 THEN RAISE EXCEPTION 'too many at once'; END IF;
                  RETURN NULL;
                END $$";
    let when = "CREATE TRIGGER long AFTER DELETE ON log_records REFERENCING OLD TABLE AS gone
                FOR EACH STATEMENT EXECUTE FUNCTION long()";
    for sql in [long, when] {
        sqlx::query(sql).execute(db.pool()).await.unwrap();
    }
    assert_eq!(signals.forget(mine, Utc::now().date_naive()).await.unwrap(), 20_001);
}

#[tokio::test]
async fn a_project_forgets_its_own_in_clickhouse() {
    let engine = ClickHouse::some().await;
    let store = engine.store(30);
    a_project_forgets_its_own(&store, &store).await;
}

async fn send(sender: &Client, project: &Project, days: i64) -> Answer {
    let at = Utc::now() - TimeDelta::days(days);
    let line = json!({ "logId": format!("{days:032x}"), "timestamp": at, "level": "info", "message": "x" });
    sender.post(&format!("//projects/{}/ai/logs/publish", project.id), json!({ "logs": [line] })).await
}

#[tokio::test]
async fn what_a_project_keeps_is_set_by_who_may_and_holds_for_what_is_there() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("/projects/{}/retention", project.id);
    assert_eq!(owner.get(&path).await.expect(200), json!({ "days": null, "installationDays": 30 }));
    for days in [0, 3, 8] {
        assert_eq!(send(&sender, &project, days).await.expect(200)["accepted"], 1);
    }
    for odd in [json!(0), json!(31), json!(-1), json!("7"), json!(70_000)] {
        let answer = owner.put(&path, json!({ "days": odd })).await;
        assert_eq!((answer.status, answer.text.contains("days")), (422, true), "{odd}: {}", answer.text);
    }
    let set = owner.put(&path, json!({ "days": 7 })).await.expect(200);
    assert_eq!(set, json!({ "days": 7, "installationDays": 30 }));
    assert_eq!(owner.get(&path).await.expect(200), set);
    let lines = async || {
        let shown = owner.get(&format!("/projects/{}/logs", project.id)).await.expect(200);
        shown["items"].as_array().unwrap().len()
    };
    app.wait_until("what is older has gone", Duration::from_secs(30), async || lines().await == 2).await;
    let refused = send(&sender, &project, 8).await.expect(200);
    assert_eq!((&refused["accepted"], &refused["rejected"]), (&json!(0), &json!(1)));
    assert_eq!(send(&sender, &project, 6).await.expect(200)["accepted"], 1);
    // The installation's again: what has gone may come again.
    assert_eq!(owner.put(&path, json!({ "days": null })).await.expect(200)["days"], Value::Null);
    assert_eq!(send(&sender, &project, 8).await.expect(200)["accepted"], 1);
    assert_eq!(lines().await, 4);

    let events = "SELECT count(*) FROM events WHERE event_type = 'project.settings_changed'";
    let events: i64 = sqlx::query_scalar(events).fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(events, 2, "each change is in the log");
    let developer = join(&app, &owner, "developer@example.org", Some(("acme", "developer"))).await;
    developer.put(&path, json!({ "days": 7 })).await.expect(200);
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    assert_eq!(viewer.put(&path, json!({ "days": 7 })).await.status, 403);
}

/// How many traces, lines, names of measurements and scores there are.
async fn left(spans: &dyn Telemetry, signals: &dyn Signals, mine: Tenant) -> [usize; 4] {
    let traces = spans.stats(mine, Period::default()).await.unwrap().traces;
    let lines = signals.logs(mine, &LogFilter { limit: 99, ..LogFilter::default() }).await.unwrap();
    let names = signals.metric_names(mine, Period::default(), 99).await.unwrap();
    let scores = signals.scores(mine, &ScoreFilter { limit: 99, ..ScoreFilter::default() }).await.unwrap();
    [usize::try_from(traces).unwrap(), lines.len(), names.len(), scores.len()]
}

/// Something of each signal, today and long ago.
async fn fill(spans: &dyn Telemetry, signals: &dyn Signals, mine: Tenant) {
    for (n, days) in [(1, 0), (2, 29)] {
        let at = Utc::now() - TimeDelta::days(days);
        spans.write(mine, vec![span(n, 1, at)]).await.unwrap();
        signals.write_logs(mine, vec![line(n, at)]).await.unwrap();
        let name = format!("m{n}");
        signals.write_points(mine, vec![point(n, &name, MetricKind::Gauge, at, 1.0)]).await.unwrap();
        signals.write_scores(mine, vec![score(n, at)]).await.unwrap();
    }
}

/// Whatever the telemetry goes to.
async fn what_was_deleted_leaves_nothing(
    settings: &[(&str, &str)],
    stores: impl Fn(&TestApp) -> (Box<dyn Telemetry>, Box<dyn Signals>),
) {
    let app = TestApp::start_with(settings).await;
    let owner = app.owner().await;
    let first = team_and_project(&app, &owner, "tiny").await;
    let url = app.repository("tiny", "others");
    let mut projects = vec![first];
    for (team, slug) in [("acme", "second"), ("acme", "kept"), ("doomed", "of-a-team")] {
        if team == "doomed" {
            world::team(&owner, team).await;
        }
        projects.push(world::project(&owner, team, slug, &url, json!({})).await);
    }
    let mut tenants = vec![];
    for project in &projects {
        let team = owner.get(&format!("/teams/{}", project.team)).await.expect(200)["id"].clone();
        let team = team.as_str().unwrap().parse().unwrap();
        tenants.push(Tenant { team, project: project.id.parse().unwrap() });
    }
    let (spans, signals) = stores(&app);
    for tenant in &tenants {
        fill(&*spans, &*signals, *tenant).await;
        assert_eq!(left(&*spans, &*signals, *tenant).await, [2; 4]);
    }
    let delete =
        async |project: &Project| owner.delete(&format!("/projects/{}", project.id)).await.expect(200);
    let gone = async |n: usize| left(&*spans, &*signals, tenants[n]).await == [0; 4];
    let soon = Duration::from_secs(30);
    delete(&projects[0]).await;
    app.wait_until("the first has gone", soon, async || gone(0).await).await;
    assert_eq!(left(&*spans, &*signals, tenants[1]).await, [2; 4], "others stay");

    // What comes late, from the disk of a server for example, goes when it is looked again; so does what a team had whose thirty
    // days are over.
    fill(&*spans, &*signals, tenants[0]).await;
    let over = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, team_id)
                VALUES ('team', $1::text, 2, 'team.closed', '1', $2, '{}', $1)";
    let closed = json!({ "type": "team.closed", "until": "2020-01-01T00:00:00Z" });
    sqlx::query(over).bind(tenants[3].team.0).bind(closed).execute(app.db.pool()).await.unwrap();
    let purged = "SELECT count(*) = 1 FROM events WHERE event_type = 'team.deleted'";
    let purged = async || sqlx::query_scalar(purged).fetch_one(app.db.pool()).await.unwrap();
    app.wait_until("the team is purged", soon, purged).await;
    delete(&projects[1]).await;
    app.wait_until("all has gone", soon, async || gone(0).await && gone(1).await && gone(3).await).await;
    assert_eq!(left(&*spans, &*signals, tenants[2]).await, [2; 4], "others stay");
}

#[tokio::test]
async fn what_was_deleted_leaves_nothing_in_postgresql() {
    let stores = |app: &TestApp| -> (Box<dyn Telemetry>, Box<dyn Signals>) {
        let pool = app.db.pool();
        (Box::new(PostgresSpans::new(pool.clone(), 30)), Box::new(PostgresSignals::new(pool.clone(), 30)))
    };
    what_was_deleted_leaves_nothing(&[], stores).await;
}

#[tokio::test]
async fn what_was_deleted_leaves_nothing_in_clickhouse() {
    let engine = ClickHouse::start().await;
    let stores = |_: &TestApp| -> (Box<dyn Telemetry>, Box<dyn Signals>) {
        (Box::new(engine.store(30)), Box::new(engine.store(30)))
    };
    what_was_deleted_leaves_nothing(&engine.settings(), stores).await;
}
