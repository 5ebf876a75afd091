//! Stock cqrs-es with postgres-es, on its own table in a schema of its own.

use std::collections::HashMap;

use async_trait::async_trait;
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, CqrsFramework, DomainEvent};
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Peer, metadata, value};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settings(HashMap<String, String>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SettingsEvent {
    Set { key: String, value: String },
}

#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct No;

impl DomainEvent for SettingsEvent {
    fn event_type(&self) -> String {
        "settings.set".to_owned()
    }
    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Settings {
    const TYPE: &'static str = "settings";
    type Command = (String, String);
    type Event = SettingsEvent;
    type Error = No;
    type Services = ();

    async fn handle(&mut self, (key, value): (String, String), (): &(), sink: &EventSink<Self>) -> Result<(), No> {
        sink.write(SettingsEvent::Set { key, value }, self).await;
        Ok(())
    }

    fn apply(&mut self, SettingsEvent::Set { key, value }: SettingsEvent) {
        self.0.insert(key, value);
    }
}

pub struct Stock(PostgresCqrs<Settings>);

pub async fn open(pool: PgPool) -> Stock {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS events (
            aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint CHECK (sequence >= 0) NOT NULL,
            event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
            PRIMARY KEY (aggregate_type, aggregate_id, sequence))",
    )
    .execute(&pool)
    .await
    .unwrap();
    let framework: CqrsFramework<Settings, _> = postgres_cqrs(pool, vec![], ());
    Stock(framework)
}

#[async_trait]
impl Peer for Stock {
    async fn command(&self, aggregate: Uuid, n: u64) {
        let with = HashMap::from([("all".to_owned(), metadata())]);
        let command = (format!("KEY_{}", n % 20), value());
        self.0.execute_with_metadata(&aggregate.to_string(), command, with).await.unwrap();
    }
}
