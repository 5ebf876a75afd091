//! The operator's tool, run as an operator runs it.

use std::process::Output;
use std::time::Duration;

use domain::ids::{TeamId, UserId};
use domain::team::TeamCommand;
use projections::feed::Feed;
use projections::{pool, read_models};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::app::TestApp;
use tests::bus::{Bus, context};
use tests::postgres::TestDb;
use tests::world::team_and_project;
use tokio::process::Command;
use uuid::Uuid;

/// A log with one team, created as Acme and renamed to Beta, and its query tables.
async fn log_of_a_team() -> (Bus, PgPool, TeamId) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 16).await.unwrap();
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    let team = TeamId(Uuid::now_v7());
    let (name, slug) = ("Acme".parse().unwrap(), "acme".parse().unwrap());
    let create = TeamCommand::CreateTeam { name, slug, owner: UserId(Uuid::now_v7()) };
    bus.commands.team(team, create, &context()).await.unwrap();
    let rename = TeamCommand::RenameTeam { name: Some("Beta".parse().unwrap()), slug: None };
    let receipt = bus.commands.team(team, rename, &context()).await.unwrap();
    feed.wake();
    assert!(feed.wait_for(receipt.position, Duration::from_secs(20)).await);
    feed.stop().await;
    (bus, pool, team)
}

async fn run(db: &TestDb, arguments: &[&str]) -> Output {
    let mut tool = Command::new(tests::app::program("replay-tool"));
    tool.args(arguments).env("DATABASE_URL", db.url());
    tool.output().await.expect("`cargo build --bins` makes it")
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn it_proves_the_tables_right_finds_what_is_wrong_and_repairs_it() {
    let (bus, pool, _) = log_of_a_team().await;
    let good = run(&bus.db, &["verify"]).await;
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert_eq!(text(&good.stdout).lines().count(), read_models().len());

    sqlx::query("UPDATE read.teams SET slug = 'evil'").execute(&pool).await.unwrap();
    let bad = run(&bus.db, &["verify", "all"]).await;
    assert_eq!(bad.status.code(), Some(3));
    let said = text(&bad.stderr);
    for part in ["teams", "slug", "evil", "acme"] {
        assert!(said.contains(part), "{said}");
    }

    assert!(run(&bus.db, &["rebuild", "teams"]).await.status.success());
    assert!(run(&bus.db, &["verify", "teams"]).await.status.success());
}

#[tokio::test]
async fn it_tells_how_far_everything_is() {
    let (bus, ..) = log_of_a_team().await;
    let output = run(&bus.db, &["status", "--json"]).await;
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["head"], 2);
    let consumers = status["consumers"].as_array().unwrap();
    assert_eq!(consumers.len(), read_models().len());
    assert!(consumers.iter().all(|consumer| consumer["position"] == 2), "{status}");
    assert!(text(&run(&bus.db, &["status"]).await.stdout).contains("audit_trail"));
}

#[tokio::test]
async fn it_shows_an_aggregate_through_time() {
    let (bus, pool, team) = log_of_a_team().await;
    let id = team.to_string();
    let history = run(&bus.db, &["history", "team", &id, "--json"]).await;
    let types: Vec<Value> = text(&history.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(types, ["team.created", "team.renamed"]);

    let at =
        "SELECT to_char(recorded_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM events WHERE position = $1";
    let first: String = sqlx::query_scalar(at).bind(1_i64).fetch_one(&pool).await.unwrap();
    for (at, name, version) in [("1", "Acme", 1), (first.as_str(), "Acme", 1), ("2", "Beta", 2)] {
        let output = run(&bus.db, &["as-of", "team", &id, "--at", at]).await;
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&state["version"], &state["state"]["names"][0]), (&version.into(), &name.into()), "{at}");
    }

    let diff = run(&bus.db, &["diff", "team", &id, "--from", &first, "--json"]).await;
    let diff: Value = serde_json::from_slice(&diff.stdout).unwrap();
    assert_eq!((&diff["from"]["position"], &diff["to"]["position"]), (&json!(1), &json!(2)));
    assert_eq!(
        diff["changes"],
        json!([{ "path": "/names", "before": ["Acme", "acme"], "after": ["Beta", "acme"] }])
    );
    assert_eq!(
        (&diff["events"][0]["eventType"], &diff["events"][0]["actor"]),
        (&json!("team.renamed"), &json!("system"))
    );
    let words = run(&bus.db, &["diff", "team", &id, "--from", "1", "--to", "2"]).await;
    assert!(
        text(&words.stdout).starts_with("/names: [\"Acme\",\"acme\"] → [\"Beta\",\"acme\"]\n"),
        "{}",
        said(&words)
    );
    assert!(text(&words.stdout).trim_end().ends_with("2  team.renamed  system"), "{}", said(&words));
    let backwards = run(&bus.db, &["diff", "team", &id, "--from", "2", "--to", "1"]).await;
    assert_eq!(backwards.status.code(), Some(1));
}

#[tokio::test]
async fn it_says_plainly_what_is_wrong() {
    let (bus, ..) = log_of_a_team().await;
    let nobody = Uuid::nil().to_string();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["verify", "weather"], 1, "there is no read model weather"),
        (&["history", "team", &nobody], 1, "the log knows no team"),
        (&["as-of", "team", &nobody, "--at", "yesterday"], 2, "must be a time"),
        (&["status", "--database-url", "postgres://nobody@127.0.0.1:1/x"], 1, "cannot be reached"),
        (&["status", "--database-url", "", "--data-dir", "/nonexistent"], 1, "no embedded PostgreSQL runs"),
    ];
    for (arguments, code, said) in cases {
        let output = run(&bus.db, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_platform_at_work_is_what_its_log_says() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let at = format!("/projects/{}/env-vars/COLOUR", project.id);
    let first = owner.put(&at, json!({ "value": "red", "sensitive": false })).await;
    let position = first.headers["x-event-position"].to_str().unwrap().to_owned();
    owner.delete(&at).await.expect(200);
    project.deployed(&app, &owner).await;
    app.settle().await;

    let status = run(&app.db, &["status", "--json"]).await;
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status["head"].as_i64().unwrap() > 10);
    assert!(status["consumers"].as_array().unwrap().iter().all(|consumer| consumer["lag"] == 0), "{status}");

    let verified = run(&app.db, &["verify"]).await;
    assert!(verified.status.success(), "{}", said(&verified));
    let rebuilt = run(&app.db, &["rebuild", "all"]).await;
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    assert_eq!(owner.get(&format!("/projects/{}", project.id)).await.status, 200);
    let verified = run(&app.db, &["verify", "all"]).await;
    assert!(verified.status.success(), "{}", said(&verified));

    let history = run(&app.db, &["history", "project", &project.id]).await;
    assert!(said(&history).contains("project.env_var_deleted"), "{}", said(&history));
    let then = run(&app.db, &["as-of", "project", &project.id, "--at", &position]).await;
    assert!(said(&then).contains("COLOUR"), "{}", said(&then));
    let now = run(&app.db, &["as-of", "project", &project.id, "--at", "2999-01-01T00:00:00Z"]).await;
    assert!(now.status.success() && !said(&now).contains("COLOUR"), "{}", said(&now));

    sqlx::query("UPDATE read.projects SET slug = 'forged'").execute(app.db.pool()).await.unwrap();
    let forged = run(&app.db, &["verify", "projects"]).await;
    assert_eq!(forged.status.code(), Some(3), "{}", said(&forged));
    assert!(said(&forged).contains("forged"), "{}", said(&forged));
}
