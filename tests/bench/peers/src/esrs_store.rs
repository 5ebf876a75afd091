//! esrs (event_sourcing.rs) with its PostgreSQL store. It has no metadata: the payload carries it.

use std::collections::HashMap;

use async_trait::async_trait;
use esrs::manager::AggregateManager;
use esrs::store::EventStore;
use esrs::store::postgres::{PgStore, PgStoreBuilder};
use esrs::{Aggregate, AggregateState};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Peer, metadata, value};

pub struct Settings;

#[derive(Clone, Serialize, Deserialize)]
pub struct Set {
    key: String,
    value: String,
    metadata: String,
}

#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct No;

impl Aggregate for Settings {
    const NAME: &'static str = "settings";
    type State = HashMap<String, String>;
    type Command = Set;
    type Event = Set;
    type Error = No;

    fn handle_command(_: &Self::State, command: Set) -> Result<Vec<Set>, No> {
        Ok(vec![command])
    }

    fn apply_event(mut state: Self::State, event: Set) -> Self::State {
        state.insert(event.key, event.value);
        state
    }
}

pub struct Esrs {
    store: PgStore<Settings>,
    manager: AggregateManager<PgStore<Settings>>,
}

pub async fn open(pool: PgPool) -> Esrs {
    let store: PgStore<Settings> = PgStoreBuilder::new(pool).try_build().await.unwrap();
    Esrs { manager: AggregateManager::new(store.clone()), store }
}

#[async_trait]
impl Peer for Esrs {
    async fn command(&self, aggregate: Uuid, n: u64) {
        let events = self.store.by_aggregate_id(aggregate).await.unwrap();
        let state = AggregateState::with_id(aggregate).apply_store_events(events, Settings::apply_event);
        let command = Set { key: format!("KEY_{}", n % 20), value: value(), metadata: metadata() };
        self.manager.handle_command(state, command).await.unwrap().unwrap();
    }
}
