//! What operators do is in the log, and the way it gets there leads to nothing else.

use std::time::Duration;

use domain::envelope::Actor;
use domain::operation::OperationEvent;
use projections::feed::Feed;
use projections::{log, operations, pool, read_models};
use sqlx::{Connection, PgConnection, PgPool};
use tests::bus::Bus;
use tests::tape::{append, lone_event};

fn paused() -> OperationEvent {
    OperationEvent::ConsumerPaused { consumer: "teams".to_owned() }
}

fn ada() -> Actor {
    Actor::Operator("ada".to_owned())
}

async fn database() -> (Bus, PgPool) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 16).await.unwrap();
    (bus, pool)
}

#[tokio::test]
async fn an_operation_is_one_event_of_a_stream_of_its_own() {
    let (_bus, pool) = database().await;
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    append(&pool, &[lone_event()]).await;
    let mut db = pool.acquire().await.unwrap();
    assert_eq!(operations::record(&mut db, &ada(), &paused()).await.unwrap(), 2);
    assert_eq!(operations::record(&mut db, &ada(), &paused()).await.unwrap(), 3);
    assert_eq!(log::head(&pool).await.unwrap(), 3);
    let events = log::read_after(&pool, 1, 10).await.unwrap();
    assert_ne!(events[0].aggregate_id, events[1].aggregate_id);
    for event in events {
        assert_eq!((event.aggregate_type.as_str(), event.sequence), ("operation", 1));
        assert_eq!(event.event_type, "ops.consumer_paused");
        event.read().unwrap();
    }
    assert!(feed.wait_for(3, Duration::from_secs(20)).await, "whoever reads is woken");
    let row: (String, String) = sqlx::query_as("SELECT actor, command FROM audit_trail WHERE position = 2")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(row, ("operator:ada".to_owned(), "PauseConsumer".to_owned()));
}

#[tokio::test]
async fn nothing_but_an_operation_gets_in_this_way() {
    let (_bus, pool) = database().await;
    let call = |kind: &str, payload: &str, actor: &str| {
        format!(
            "SELECT record_operation(gen_random_uuid(), gen_random_uuid(), '{kind}', '1', '{payload}',
                                     '{{\"actor\": \"{actor}\"}}')"
        )
    };
    let good = r#"{"type":"ops.consumer_paused","consumer":"teams"}"#;
    for refused in [
        call("team.created", r#"{"type":"team.created"}"#, "operator:ada"),
        call("ops.consumer_paused", r#"{"type":"team.created"}"#, "operator:ada"),
        call("ops.consumer_paused", good, "user:00000000-0000-7000-8000-000000000001"),
        call("ops.consumer_paused", good, ""),
    ] {
        let error = sqlx::query(&refused).execute(&pool).await.unwrap_err();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "23514", "{error}");
    }
    assert_eq!(log::head(&pool).await.unwrap(), 0);
    sqlx::query(&call("ops.consumer_paused", good, "system")).execute(&pool).await.unwrap();
    assert_eq!(log::head(&pool).await.unwrap(), 1);
}

#[tokio::test]
async fn who_may_do_nothing_else_may_still_leave_it() {
    let (bus, _pool) = database().await;
    let role = format!("tool_{}", uuid::Uuid::now_v7().simple());
    let mut db = PgConnection::connect(&bus.db.url()).await.unwrap();
    let alone = format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role};
         GRANT EXECUTE ON FUNCTION record_operation TO {role}; SET ROLE {role}"
    );
    sqlx::raw_sql(&alone).execute(&mut db).await.unwrap();
    let position = operations::record(&mut db, &ada(), &paused()).await;
    let direct = sqlx::query("INSERT INTO claims VALUES ('team.slug', 'acme', '1')").execute(&mut db).await;
    sqlx::raw_sql(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"))
        .execute(&mut db)
        .await
        .unwrap();
    assert_eq!(position.unwrap(), 1);
    assert!(direct.is_err());
}
