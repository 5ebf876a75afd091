//! Read models: every event there ever was goes through them, and a rebuild gives the same rows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use projections::feed::{Consumer, Feed};
use projections::rebuild::rebuild;
use projections::verify::{Mismatch, VerifyError, verify};
use projections::{log, pool, read_models};
use serde_json::{Value, json};
use sqlx::{Connection, PgPool};
use tests::bus::Bus;
use tests::tape::{append, event, until};
use uuid::Uuid;

pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Every golden event, each as the next one of its stream: what begins things first, what ends them last.
pub(crate) fn golden() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/golden");
    let mut golden: Vec<Value> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap())
        .collect();
    golden.sort_by_key(|event| {
        let name = event["event_type"].as_str().unwrap();
        let version = event["event_version"].as_str().unwrap().to_owned();
        (rank(name), name.to_owned(), version, event["payload"].to_string())
    });
    let (mut sequences, mut begun) = (std::collections::BTreeMap::new(), std::collections::BTreeSet::new());
    golden
        .iter()
        .map(|golden| {
            let (kind, name) =
                (golden["aggregate_type"].as_str().unwrap(), golden["event_type"].as_str().unwrap());
            // What is begun in another way, too, is another one.
            let is_another = name == "build.requested" && !begun.insert(name);
            let id = if is_another { self::id("another") } else { id(kind) };
            let sequence = sequences.entry((kind, id.clone())).and_modify(|n| *n += 1).or_insert(1);
            let mut event = event(kind, &id, *sequence, golden["payload"].clone());
            event["event_version"] = golden["event_version"].clone();
            event
        })
        .collect()
}

/// The ids that the golden events use for each other.
pub(crate) fn id(kind: &str) -> String {
    let n = match kind {
        "user" => 1,
        "team" => 2,
        "project" => 3,
        "build" => 5,
        "deployment" => 6,
        "role" => 0x10,
        _ => 0x99,
    };
    Uuid::from_u128(0x7000_8000_0000_0000_0000 + n).to_string()
}

fn rank(name: &str) -> u8 {
    match name {
        "user.registered" | "team.created" | "project.created" | "role.created" => 0,
        "project.environment_created" | "build.requested" | "deployment.requested" | "role.assigned" => 1,
        // The golden tokens of user and project have one id: one ends before the other begins.
        "user.token_created" | "user.token_rotated" => 1,
        "user.token_revoked" => 2,
        "project.token_created" => 3,
        "team.member_added" | "team.invite_accepted" => 3,
        _ if ["deleted", "revoked", "unassigned", "installation_removed"]
            .iter()
            .any(|end| name.ends_with(end)) =>
        {
            5
        }
        "project.token_rotated" => 4,
        "deployment.rolled_back" => 4,
        _ if name.ends_with("failed") || name.ends_with("stopped") || name.ends_with("cancelled") => 4,
        _ => 2,
    }
}

/// A log of every golden event, read models at its end, and the feed that reads for them.
pub(crate) async fn full() -> (Bus, PgPool, Feed) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 24).await.unwrap();
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    let events = golden();
    // Up to what ends things, so that there are rows to compare.
    let last = events.iter().position(|event| rank(event["event_type"].as_str().unwrap()) == 5).unwrap();
    let position = append(&pool, &events[..last]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await, "{:?}", feed.progress().await);
    (bus, pool, feed)
}

pub(crate) fn model(name: &str) -> Arc<dyn Consumer> {
    read_models().into_iter().find(|model| model.name() == name).unwrap()
}

#[tokio::test]
async fn every_golden_event_goes_through_every_read_model() {
    let (_bus, pool, feed) = full().await;
    let events = golden();
    let known = usize::try_from(log::head(&pool).await.unwrap()).unwrap();
    let position = append(&pool, &events[known..]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await, "{:?}", feed.progress().await);
    assert_eq!(usize::try_from(position).unwrap(), events.len());
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_trail").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, position, "the audit trail has one row an event");
    for model in read_models() {
        verify(&pool, model.as_ref()).await.unwrap();
    }
}

#[tokio::test]
async fn a_golden_event_that_comes_alone_is_no_error_either() {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 4).await.unwrap();
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    feed.stop().await;
    append(&pool, &golden()).await;
    for stored in log::read_after(&pool, 0, 1000).await.unwrap() {
        let recorded = stored.read().unwrap();
        for model in read_models() {
            let mut db = pool.acquire().await.unwrap();
            let mut tx = db.begin().await.unwrap();
            let taken = model.apply(&mut tx, &recorded).await;
            assert!(taken.is_ok(), "{} refuses {}: {taken:?}", model.name(), recorded.event_type);
        }
    }
}

#[tokio::test]
async fn every_read_model_is_rebuilt_to_the_same_rows() {
    let (_bus, pool, feed) = full().await;
    let head = log::head(&pool).await.unwrap();
    for model in read_models() {
        let before = verify(&pool, model.as_ref()).await.unwrap();
        assert!(before.rows > 0, "{} has rows to compare", before.name);
        assert_eq!(before.position, head);
        assert_eq!(rebuild(&pool, model.as_ref()).await.unwrap().position, head);
        assert_eq!(verify(&pool, model.as_ref()).await.unwrap(), before);
    }
    let position = append(&pool, &[tests::tape::lone_event()]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await, "the feed goes on after the swap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_see_an_empty_table_while_it_is_rebuilt() {
    let (_bus, pool, feed) = full().await;
    let teams = |from: u128| {
        (from..from + 20).map(|n| {
            let id = Uuid::from_u128(n).to_string();
            let slug = format!("team-{n}");
            event(
                "team",
                &id,
                1,
                json!({ "type": "team.created", "name": "T", "slug": slug, "owner": Uuid::from_u128(1) }),
            )
        })
    };
    let position = append(&pool, &teams(1000).collect::<Vec<_>>()).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);

    let done = AtomicBool::new(false);
    let reader = || async {
        let mut seen = 0_i64;
        while !done.load(Ordering::SeqCst) {
            let now: i64 = sqlx::query_scalar("SELECT count(*) FROM teams").fetch_one(&pool).await.unwrap();
            assert!(now >= seen.max(21), "{now} after {seen}");
            seen = now;
        }
    };
    let writer = async {
        for round in 0..15 {
            append(&pool, &teams(2000 + round * 100).collect::<Vec<_>>()).await;
            feed.wake();
            tokio::task::yield_now().await;
        }
    };
    let rebuilds = async {
        for _ in 0..8 {
            rebuild(&pool, model("teams").as_ref()).await.unwrap();
        }
    };
    let work = async {
        tokio::join!(writer, rebuilds);
        done.store(true, Ordering::SeqCst);
    };
    tokio::join!(work, join_all((0..4).map(|_| reader())));
    assert!(feed.wait_for(log::head(&pool).await.unwrap(), LONG).await);
    verify(&pool, model("teams").as_ref()).await.unwrap();
}

#[tokio::test]
async fn a_reader_of_several_tables_comes_before_a_swap() {
    let (_bus, pool, _feed) = full().await;
    let mut reader = pool.begin().await.unwrap();
    let count = "SELECT count(*) FROM team_members";
    let members: i64 = sqlx::query_scalar(count).fetch_one(&mut *reader).await.unwrap();
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity
                                   WHERE datname = current_database() AND wait_event_type = 'Lock')";
    let reads = async {
        until("the swap has the teams and waits for their members", async || {
            sqlx::query_scalar(waiting).fetch_one(&pool).await.unwrap()
        })
        .await;
        let teams: i64 =
            sqlx::query_scalar("SELECT count(*) FROM teams").fetch_one(&mut *reader).await.unwrap();
        assert!(teams > 0 && members > 0);
        reader.commit().await.unwrap();
    };
    let teams = model("teams");
    let (swapped, ()) = tokio::join!(rebuild(&pool, teams.as_ref()), reads);
    swapped.unwrap();
    verify(&pool, model("teams").as_ref()).await.unwrap();
}

#[tokio::test]
async fn verify_names_the_first_row_that_was_changed_removed_or_added() {
    let (_bus, pool, feed) = full().await;
    feed.stop().await;
    let cases = [
        (
            "UPDATE read.teams SET name = 'Evil'",
            "teams",
            Mismatch::Column { column: "name".into(), live: "Evil".into(), rebuilt: "Acme".into() },
        ),
        ("DELETE FROM read.team_invites", "team_invites", Mismatch::Missing),
        (
            "INSERT INTO read.team_members SELECT team_id, '00000000-0000-0000-0000-000000000666', role, created_at
               FROM read.team_members",
            "team_members",
            Mismatch::Added,
        ),
    ];
    for (tamper, table, what) in cases {
        sqlx::query(tamper).execute(&pool).await.unwrap();
        let error = verify(&pool, model("teams").as_ref()).await.unwrap_err();
        let VerifyError::Different { name, difference } = error else { panic!("{error:?}") };
        assert_eq!((name, difference.table, &difference.what), ("teams", table, &what));
        assert!(difference.key.as_object().is_some_and(|key| !key.is_empty()), "{difference}");
        rebuild(&pool, model("teams").as_ref()).await.unwrap();
        verify(&pool, model("teams").as_ref()).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_rebuild_and_what_a_killed_one_left_is_no_hindrance() {
    let (_bus, pool, _feed) = full().await;
    sqlx::raw_sql("CREATE SCHEMA rebuild_teams; CREATE TABLE rebuild_teams.teams (n int)")
        .execute(&pool)
        .await
        .unwrap();
    rebuild(&pool, model("teams").as_ref()).await.unwrap();
    verify(&pool, model("teams").as_ref()).await.unwrap();
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rebuild%' OR nspname LIKE 'verify%'";
    until("the schemas are gone", async || {
        sqlx::query_scalar::<_, i64>(left).fetch_one(&pool).await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn who_leaves_a_team_loses_what_was_given_to_him_there() {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 12).await.unwrap();
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    let (team, user, project) = (id("team"), Uuid::from_u128(77), id("project"));
    let golden = golden();
    let of = |kind: &str| {
        golden.iter().find(|event| event["event_type"] == kind).unwrap_or_else(|| panic!("{kind}")).clone()
    };
    let scope = json!({ "type": "project", "projectId": project });
    let assigned =
        json!({ "type": "role.assigned", "user_id": user, "role": "project:deployer", "scope": scope });
    let added = json!({ "type": "team.member_added", "user_id": user, "role": "viewer" });
    let removed = json!({ "type": "team.member_removed", "user_id": user, "role": "viewer" });
    let mut position = 0;
    for event in [
        of("team.created"),
        of("project.created"),
        event("team", &team, 2, added),
        event("role_assignment", &Uuid::now_v7().to_string(), 1, assigned),
    ] {
        position = append(&pool, &[event]).await;
    }
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(projections::roles::grants_of(&pool, user.into()).await.unwrap().len(), 2);

    let position = append(&pool, &[event("team", &team, 3, removed)]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(projections::roles::grants_of(&pool, user.into()).await.unwrap(), vec![]);
}
