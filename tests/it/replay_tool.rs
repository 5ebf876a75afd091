//! The operator's tool, run as an operator runs it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use domain::ids::{TeamId, UserId};
use domain::team::TeamCommand;
use projections::feed::Feed;
use projections::{pool, read_models};
use serde_json::Value;
use sqlx::PgPool;
use tests::bus::{Bus, context};
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

/// The program, beside the tests in the target directory.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("replay-tool")
}

async fn run(bus: &Bus, arguments: &[&str]) -> Output {
    let mut tool = Command::new(program());
    tool.args(arguments).env("DATABASE_URL", bus.db.url());
    tool.output().await.expect("`cargo build --bins` makes it")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn it_proves_the_tables_right_finds_what_is_wrong_and_repairs_it() {
    let (bus, pool, _) = log_of_a_team().await;
    let good = run(&bus, &["verify"]).await;
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert_eq!(text(&good.stdout).lines().count(), read_models().len());

    sqlx::query("UPDATE read.teams SET slug = 'evil'").execute(&pool).await.unwrap();
    let bad = run(&bus, &["verify", "all"]).await;
    assert_eq!(bad.status.code(), Some(3));
    let said = text(&bad.stderr);
    for part in ["teams", "slug", "evil", "acme"] {
        assert!(said.contains(part), "{said}");
    }

    assert!(run(&bus, &["rebuild", "teams"]).await.status.success());
    assert!(run(&bus, &["verify", "teams"]).await.status.success());
}

#[tokio::test]
async fn it_tells_how_far_everything_is() {
    let (bus, ..) = log_of_a_team().await;
    let output = run(&bus, &["status", "--json"]).await;
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["head"], 2);
    let consumers = status["consumers"].as_array().unwrap();
    assert_eq!(consumers.len(), read_models().len());
    assert!(consumers.iter().all(|consumer| consumer["position"] == 2), "{status}");
    assert!(text(&run(&bus, &["status"]).await.stdout).contains("audit_trail"));
}

#[tokio::test]
async fn it_shows_an_aggregate_through_time() {
    let (bus, pool, team) = log_of_a_team().await;
    let id = team.to_string();
    let history = run(&bus, &["history", "team", &id, "--json"]).await;
    let types: Vec<Value> = text(&history.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(types, ["team.created", "team.renamed"]);

    let at =
        "SELECT to_char(recorded_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM events WHERE position = $1";
    let first: String = sqlx::query_scalar(at).bind(1_i64).fetch_one(&pool).await.unwrap();
    for (at, name, version) in [("1", "Acme", 1), (first.as_str(), "Acme", 1), ("2", "Beta", 2)] {
        let output = run(&bus, &["as-of", "team", &id, "--at", at]).await;
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&state["version"], &state["state"]["names"][0]), (&version.into(), &name.into()), "{at}");
    }
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
        let output = run(&bus, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}
