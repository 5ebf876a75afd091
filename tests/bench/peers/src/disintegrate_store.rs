//! disintegrate with its PostgreSQL store. It has no metadata: the payload carries it.

use std::collections::HashMap;

use async_trait::async_trait;
use disintegrate::serde::json::Json;
use disintegrate::{Decision, Event, NoSnapshot, StateMutate, StateQuery};
use disintegrate_postgres::{PgDecisionMaker, PgEventStore, decision_maker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Peer, metadata, value};

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[stream(SettingsEvent, [Set])]
pub enum DomainEvent {
    Set {
        #[id]
        aggregate: String,
        key: String,
        value: String,
        metadata: String,
    },
}

#[derive(Default, StateQuery, Clone, Serialize, Deserialize)]
#[state_query(SettingsEvent)]
pub struct Settings {
    #[id]
    aggregate: String,
    values: HashMap<String, String>,
}

impl StateMutate for Settings {
    fn mutate(&mut self, event: Self::Event) {
        let SettingsEvent::Set { key, value, .. } = event;
        self.values.insert(key, value);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct No;

struct Put {
    aggregate: String,
    key: String,
}

impl Decision for Put {
    type Event = DomainEvent;
    type StateQuery = Settings;
    type Error = No;

    fn state_query(&self) -> Settings {
        Settings { aggregate: self.aggregate.clone(), ..Settings::default() }
    }

    fn process(&self, _: &Settings) -> Result<Vec<DomainEvent>, No> {
        Ok(vec![DomainEvent::Set {
            aggregate: self.aggregate.clone(),
            key: self.key.clone(),
            value: value(),
            metadata: metadata(),
        }])
    }
}

pub struct Disintegrate(PgDecisionMaker<DomainEvent, Json<DomainEvent>, NoSnapshot>);

pub async fn open(pool: PgPool) -> Disintegrate {
    let store = PgEventStore::try_new(pool, Json::<DomainEvent>::default()).await.unwrap();
    Disintegrate(decision_maker(store, NoSnapshot))
}

#[async_trait]
impl Peer for Disintegrate {
    async fn command(&self, aggregate: Uuid, n: u64) {
        let put = || Put { aggregate: aggregate.to_string(), key: format!("KEY_{}", n % 20) };
        // Its optimistic lock may refuse: the command is then sent again, as its users must.
        while self.0.make(put()).await.is_err() {}
    }
}
