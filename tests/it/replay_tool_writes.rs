//! The verbs of the operator's tool that change something: what they do, say and leave in the log.

use std::process::Output;

use domain::ids::TeamId;
use projections::feed::Feed;
use projections::{log, pool, read_models};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::app::TestApp;
use tests::bus::Bus;
use tests::postgres::TestDb;
use tests::tape::{append, event, lone_event};
use tokio::process::Command;
use uuid::Uuid;

/// A log with query tables that are at its end; nobody reads on.
async fn a_log() -> (Bus, PgPool) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 16).await.unwrap();
    append(&pool, &[lone_event(), lone_event()]).await;
    catch_up(&pool).await;
    (bus, pool)
}

async fn catch_up(pool: &PgPool) {
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    assert!(feed.wait_for(log::head(pool).await.unwrap(), std::time::Duration::from_secs(20)).await);
    feed.stop().await;
}

async fn run(db: &TestDb, arguments: &[&str]) -> Output {
    let mut tool = Command::new(tests::app::program("replay-tool"));
    tool.args(arguments).args(["--actor", "ada"]).env("DATABASE_URL", db.url());
    tool.output().await.expect("`cargo build --bins` makes it")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What it answers with `--json`, a value a line, when it succeeds.
async fn answers(db: &TestDb, arguments: &[&str]) -> Vec<Value> {
    let output = run(db, &[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn operations(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT event_type, metadata ->> 'actor' FROM events WHERE aggregate_type = 'operation' ORDER BY position",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_verb_that_writes_says_what_it_did_and_leaves_who_did_it() {
    let (bus, pool) = a_log().await;
    let db = &bus.db;
    assert_eq!(answers(db, &["rebuild", "teams"]).await[0]["events"], 2);
    assert_eq!(answers(db, &["rollback", "teams"]).await[0]["generation"], 0);
    let status = answers(db, &["status"]).await.remove(0);
    assert_eq!(status["generations"][0]["state"], "kept", "{status}");
    assert_eq!(answers(db, &["gc"]).await[0]["removed"].as_array().unwrap().len(), 1);
    assert_eq!(answers(db, &["gc"]).await[0]["removed"], json!([]));
    assert_eq!(answers(db, &["consumer", "pause", "teams"]).await[0]["changed"], true);
    assert_eq!(answers(db, &["consumer", "pause", "teams"]).await[0]["changed"], false);
    let status = answers(db, &["status"]).await.remove(0);
    let consumers = status["consumers"].as_array().unwrap();
    let teams = consumers.iter().find(|consumer| consumer["name"] == "teams").unwrap();
    assert_eq!(teams["pausedBy"], "operator:ada");
    assert!(text(&run(db, &["status"]).await.stdout).contains("paused by operator:ada"));
    assert_eq!(answers(db, &["consumer", "resume", "teams"]).await[0]["changed"], true);
    assert!(answers(db, &["consumer", "reset", "teams"]).await[0]["events"].as_i64().unwrap() > 2);

    let all = operations(&pool).await;
    assert!(all.iter().all(|(_, actor)| actor == "operator:ada"), "{all:?}");
    let kinds: Vec<_> = all.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "ops.read_model_rebuilt",
            "ops.read_model_rolled_back",
            "ops.generations_collected",
            "ops.consumer_paused",
            "ops.consumer_resumed",
            "ops.read_model_rebuilt",
        ]
    );
    catch_up(&pool).await;
    let proved = answers(db, &["verify"]).await;
    assert_eq!(proved.len(), read_models().len());
}

#[tokio::test]
async fn without_a_name_it_is_the_user_of_the_system() {
    let (bus, pool) = a_log().await;
    let mut tool = Command::new(tests::app::program("replay-tool"));
    tool.args(["consumer", "pause", "teams"]).env("DATABASE_URL", bus.db.url()).env_remove("SUDO_USER");
    assert!(tool.status().await.unwrap().success());
    let actor = operations(&pool).await.remove(0).1;
    assert!(actor.starts_with("operator:") && actor.len() > "operator:".len(), "{actor}");
}

#[tokio::test]
async fn a_process_is_not_set_back_but_goes_on_at_the_end_if_that_is_wanted() {
    let (bus, pool) = a_log().await;
    sqlx::query("INSERT INTO consumers (name, version) VALUES ('run_build', 1)")
        .execute(&pool)
        .await
        .unwrap();
    let refused = run(&bus.db, &["consumer", "reset", "run_build"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("would do all its work again"), "{}", text(&refused.stderr));
    let reset = answers(&bus.db, &["consumer", "reset", "run_build", "--to-head"]).await.remove(0);
    assert_eq!((&reset["oldPosition"], &reset["position"]), (&json!(0), &json!(2)));
    let refused = run(&bus.db, &["consumer", "reset", "teams", "--to-head"]).await;
    assert!(text(&refused.stderr).contains("teams is a read model"), "{}", text(&refused.stderr));
    let refused = run(&bus.db, &["consumer", "pause", "weather"]).await;
    assert!(text(&refused.stderr).contains("there is no consumer weather"), "{}", text(&refused.stderr));
    assert_eq!(operations(&pool).await.len(), 1);
}

#[tokio::test]
async fn dead_letters_are_listed_shown_tried_again_and_skipped() {
    let (bus, pool) = a_log().await;
    let db = &bus.db;
    // A team whose first event no version of the software knows, and one behind it.
    let team = TeamId(Uuid::now_v7());
    let mut unknown = event("team", &team.to_string(), 1, json!({ "type": "team.vanished" }));
    unknown["team_id"] = json!(team);
    let bad = unknown["event_id"].as_str().unwrap().to_owned();
    let payload =
        json!({ "type": "team.renamed", "name": "B", "slug": "b", "old_name": "A", "old_slug": "a" });
    let mut behind = event("team", &team.to_string(), 2, payload);
    behind["team_id"] = json!(team);
    append(&pool, &[unknown, behind]).await;
    catch_up(&pool).await;

    let listed = answers(db, &["dlq", "list", "teams"]).await;
    let partition = format!("team/{team}");
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["partition"], &listed[0]["eventId"]), (&json!(partition), &json!(bad)));
    assert!(listed[0]["error"].as_str().unwrap().contains("team.vanished"), "{listed:?}");
    assert!(answers(db, &["dlq", "list"]).await.len() > 1, "others cannot read it either");
    assert_eq!(answers(db, &["dlq", "show", "teams", &partition]).await.len(), 2);
    let lacking = run(db, &["verify", "teams"]).await;
    assert_eq!(lacking.status.code(), Some(4), "{}", text(&lacking.stderr));
    assert!(text(&lacking.stdout).contains(&format!("parked of {partition}")), "{}", text(&lacking.stdout));

    let again = run(db, &["dlq", "retry", "teams", &partition]).await;
    assert_eq!(again.status.code(), Some(4));
    assert!(text(&again.stdout).contains("team.vanished"), "{}", text(&again.stdout));
    let unfounded = run(db, &["dlq", "skip", "teams", &bad, "--reason", " "]).await;
    assert_eq!(unfounded.status.code(), Some(1));
    answers(db, &["dlq", "skip", "teams", &bad, "--reason", "no such event"]).await;
    let tried = answers(db, &["dlq", "retry", "teams"]).await.remove(0);
    assert_eq!((&tried["taken"], &tried["left"]), (&json!(1), &json!(0)));
    assert_eq!(answers(db, &["dlq", "list", "teams"]).await.len(), 0);
    let lacking = run(db, &["verify", "teams"]).await;
    assert!(text(&lacking.stdout).contains("but for 1 skipped"), "{}", text(&lacking.stdout));
    let kinds: Vec<_> = operations(&pool).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["ops.dead_letter_retried", "ops.dead_letter_skipped", "ops.dead_letter_retried"]);
}

#[tokio::test]
async fn a_server_shows_what_is_parked_goes_on_with_the_rest_and_tries_again_for_its_processes() {
    let app = TestApp::start().await;
    append(app.db.pool(), &[event("weather", "1", 1, json!({ "type": "weather.changed" }))]).await;
    app.settle().await;
    let nobody = app.nobody();
    let ready = nobody.get("//api/ready").await.expect(200);
    assert_eq!(ready["status"], "degraded", "{ready}");
    let consumers = ready["consumers"].as_array().unwrap();
    assert!(consumers.iter().all(|consumer| consumer["parked"] == 1 && consumer["lag"] == 0), "{ready}");
    let metrics = nobody.get("//metrics").await.text;
    assert!(metrics.contains("mastra_admin_dead_letters{consumer=\"run_build\"} 1"), "{metrics}");
    let owner = app.owner().await;
    let team = owner.post("/teams", json!({ "name": "Acme", "slug": "acme" })).await;
    assert_eq!(team.status, 201, "{}", team.body);
    assert!(!team.headers.contains_key("x-projection-lag"), "it is read as it was written");

    let again = run(&app.db, &["dlq", "retry", "run_build", "weather/1", "--json"]).await;
    assert_eq!(again.status.code(), Some(4), "{}", text(&again.stderr));
    let tried: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&tried["taken"], &tried["left"]), (&json!(0), &json!(1)), "the server has tried: {tried}");
    assert!(tried["error"].as_str().unwrap().contains("weather.changed"), "{tried}");
    let attempts = answers(&app.db, &["dlq", "list", "run_build"]).await.remove(0)["attempts"].clone();
    assert_eq!(attempts, 2);
}
