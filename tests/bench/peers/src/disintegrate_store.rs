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

/// Its own function, but for a number that PostgreSQL before 16 reads in decimal only. Bodies are not checked when it
/// makes it (`check_function_bodies` is off on our connections).
const BEGIN_EPOCH: &str = "CREATE OR REPLACE FUNCTION event_store_begin_epoch() RETURNS void AS $$
    DECLARE
        id BIGINT;
        db_id INT;
    BEGIN
        SELECT last_value INTO id FROM seq_event_event_id;
        SELECT oid INTO db_id FROM pg_database WHERE datname = current_database();
        PERFORM pg_try_advisory_xact_lock_shared(db_id, 0);
        PERFORM pg_try_advisory_xact_lock_shared(1, (id & 4294967295)::bit(32)::integer);
        PERFORM pg_try_advisory_xact_lock_shared(2, (id >> 32)::bit(32)::integer);
    END;
    $$ LANGUAGE plpgsql";

pub async fn open(pool: PgPool) -> Disintegrate {
    let store = PgEventStore::try_new(pool.clone(), Json::<DomainEvent>::default()).await.unwrap();
    sqlx::raw_sql(BEGIN_EPOCH).execute(&pool).await.unwrap();
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
