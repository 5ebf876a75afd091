//! What a rebuild and the live tables have in common: every byte, whatever the circumstances.

use futures_util::TryStreamExt;
use projections::feed::{Consumer, Feed};
use projections::rebuild::{Options, rebuild, rebuild_with};
use projections::verify::verify;
use projections::{log, pool, read_models};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};
use tests::bus::Bus;
use tests::tape::{append, event};
use uuid::Uuid;

use crate::projections::{LONG, full, golden, id, model};

#[tokio::test]
async fn a_rebuild_that_does_not_fit_in_memory_stores_rows_and_fetches_them_again() {
    let (_bus, pool, feed) = full().await;
    let events = golden();
    let known = usize::try_from(log::head(&pool).await.unwrap()).unwrap();
    // More than are taken in at once, so that what ends things finds them stored and forgotten.
    let others: Vec<_> = (0..2000).map(|_| tests::tape::lone_event()).collect();
    append(&pool, &others).await;
    let closed = events.iter().position(|event| event["event_type"] == "team.deleted").unwrap();
    for events in [&events[known..closed], &events[closed..]] {
        let position = append(&pool, events).await;
        feed.wake();
        assert!(feed.wait_for(position, LONG).await, "{:?}", feed.progress().await);
        for model in read_models() {
            let before = content(&pool, model.as_ref()).await;
            let little = Options { memory: Some(1), afresh: true, ..Options::default() };
            rebuild_with(&pool, model.as_ref(), little).await.unwrap();
            assert_eq!(content(&pool, model.as_ref()).await, before, "{}", model.name());
        }
    }
}

#[tokio::test]
async fn a_rebuild_in_another_time_zone_gives_the_same_bytes() {
    let (bus, pool, _feed) = full().await;
    let options: PgConnectOptions = bus.db.url().parse().unwrap();
    let far = options.options([
        ("search_path", "read,public"),
        ("timezone", "Asia/Kathmandu"),
        ("datestyle", "SQL,DMY"),
        ("intervalstyle", "iso_8601"),
    ]);
    let far = PgPoolOptions::new().max_connections(4).connect_with(far).await.unwrap();
    for model in read_models() {
        let before = content(&pool, model.as_ref()).await;
        rebuild(&far, model.as_ref()).await.unwrap();
        assert_eq!(content(&pool, model.as_ref()).await, before, "{}", model.name());
    }
}

/// Every row of a model's tables as PostgreSQL sends it, by primary key.
async fn content(pool: &PgPool, model: &dyn Consumer) -> Vec<u8> {
    let mut db = pool.acquire().await.unwrap();
    let mut bytes = vec![];
    for table in model.table_names() {
        let key: String = sqlx::query_scalar(
            "SELECT string_agg(a.attname, ', ') FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
              WHERE i.indisprimary AND i.indrelid = ('read.' || $1)::regclass",
        )
        .bind(table)
        .fetch_one(&mut *db)
        .await
        .unwrap();
        let copy = format!("COPY (SELECT * FROM read.{table} ORDER BY {key}) TO STDOUT (FORMAT binary)");
        let mut rows = db.copy_out_raw(&copy).await.unwrap();
        while let Some(row) = rows.try_next().await.unwrap() {
            bytes.extend_from_slice(&row);
        }
    }
    bytes
}

#[tokio::test]
async fn a_read_model_takes_nothing_from_what_it_does_not_want_or_passes_over() {
    let (_bus, pool, _feed) = full().await;
    let head = log::head(&pool).await.unwrap();
    for model in read_models() {
        let before = content(&pool, model.as_ref()).await;
        let mut db = pool.acquire().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        for stored in log::read_after(&mut *tx, 0, head).await.unwrap() {
            let recorded = stored.read().unwrap();
            let type_of = recorded.event_type.as_str();
            if !model.wants(&recorded) || model.passes_over().contains(&type_of) {
                model.apply(&mut tx, &recorded).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
        assert_eq!(content(&pool, model.as_ref()).await, before, "{}", model.name());
    }
    let events = golden();
    for name in read_models().iter().flat_map(|model| model.passes_over()) {
        assert!(events.iter().any(|event| event["event_type"] == *name), "there is no event {name}");
    }
}

#[tokio::test]
async fn texts_of_any_kind_come_through_live_and_in_a_rebuild() {
    let (_bus, pool, feed) = full().await;
    let (build, project) = (Uuid::now_v7().to_string(), id("project"));
    let texts = json!(["", " ", "NULL", "null", "a \"b\" \\c\\", "{x,y}", "line\nbreak\ttab", "é 🦀", "\\N"]);
    let requested = json!({ "type": "build.requested", "team_id": id("team"), "project_id": project,
        "environment_id": Uuid::nil(), "branch": "main", "deploy": false });
    let succeeded = json!({ "type": "build.succeeded", "artifact": { "sha256": "ab".repeat(32), "bytes": 1 },
        "node_version": "22", "warnings": texts, "env_refs": [] });
    append(&pool, &[event("build", &build, 1, requested)]).await;
    let position = append(&pool, &[event("build", &build, 2, succeeded)]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await, "{:?}", feed.progress().await);
    let id = build.parse().unwrap();
    let live = projections::builds::find(&pool, id).await.unwrap().unwrap();
    assert_eq!(json!(live.warnings), texts);
    assert!(live.env_refs.is_empty());
    rebuild(&pool, model("builds").as_ref()).await.unwrap();
    assert_eq!(json!(projections::builds::find(&pool, id).await.unwrap().unwrap().warnings), texts);
}

#[tokio::test]
async fn a_rebuild_of_a_log_with_a_hole_says_where_it_is() {
    let (bus, pool, feed) = full().await;
    feed.stop().await;
    let cut = "ALTER TABLE events DISABLE TRIGGER USER; DELETE FROM events WHERE position = 3";
    sqlx::raw_sql(cut).execute(bus.db.pool()).await.unwrap();
    for name in ["teams", "audit_trail"] {
        let error = rebuild(&pool, model(name).as_ref()).await.unwrap_err().to_string();
        assert!(error.contains("position 3 "), "{error}");
    }
}

/// A log as the bench writes it, longer than the first piece of a rebuild.
#[tokio::test]
async fn a_log_of_several_pieces_is_rebuilt_to_what_was_taken_in_live() {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 24).await.unwrap();
    sqlx::raw_sql(include_str!("../bench/seed.sql")).execute(bus.db.pool()).await.unwrap();
    sqlx::query("SELECT bench_seed(1, 8000, 10)").execute(bus.db.pool()).await.unwrap();
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    assert!(feed.wait_for(8000, LONG * 6).await, "{:?}", feed.progress().await);
    feed.stop().await;
    assert_eq!(projections::parked::list(&pool, None).await.unwrap(), vec![]);
    for model in read_models() {
        let before = content(&pool, model.as_ref()).await;
        let (indexes, built) = (indexes(&pool, model.as_ref()).await, rebuild(&pool, model.as_ref()).await);
        assert_eq!(built.unwrap().events, 8000);
        assert_eq!(content(&pool, model.as_ref()).await, before, "{}", model.name());
        assert_eq!(self::indexes(&pool, model.as_ref()).await, indexes, "{}", model.name());
        verify(&pool, model.as_ref()).await.unwrap();
    }
}

/// The indexes and constraints of a model's tables, as statements.
async fn indexes(pool: &PgPool, model: &dyn Consumer) -> Vec<String> {
    let names: Vec<&str> = model.table_names().to_vec();
    sqlx::query_scalar(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'read' AND tablename = ANY($1)
          UNION ALL
         SELECT conname || ' ' || pg_get_constraintdef(c.oid)
           FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
          WHERE t.relnamespace = 'read'::regnamespace AND t.relname = ANY($1)
          ORDER BY 1",
    )
    .bind(names)
    .fetch_all(pool)
    .await
    .unwrap()
}
