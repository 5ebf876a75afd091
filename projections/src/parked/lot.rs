//! What waits of one consumer, as whoever moves its checkpoint has it in memory, and how a batch is taken in.

use std::collections::HashSet;

use domain::fact::{Recorded, UnreadableEvent};
use domain::ids::TeamId;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::{Grain, LIVE, is_of_the_event};
use crate::feed::Consumer;

/// The partitions of a consumer that wait, and the events that it never takes in.
#[derive(Clone, Debug)]
pub(crate) struct Lot {
    consumer: &'static str,
    schema: String,
    partitions: HashSet<String>,
    skipped: HashSet<i64>,
    /// Whether these are to be taken in again.
    takes_in_skipped: bool,
    /// Positions that are left out without being noted: a proof has to leave out what the live tables have not.
    left_out: Option<HashSet<i64>>,
}

impl Lot {
    /// As it is for these tables. To be read again whenever the lease is taken.
    pub(crate) async fn load(
        db: &mut PgConnection,
        consumer: &dyn Consumer,
        schema: &str,
    ) -> sqlx::Result<Self> {
        let consumer = consumer.name();
        let partitions = sqlx::query_scalar(
            "SELECT DISTINCT partition FROM public.parked WHERE consumer = $1 AND schema_name = $2",
        )
        .bind(consumer)
        .bind(schema)
        .fetch_all(&mut *db)
        .await?;
        let skipped = sqlx::query_scalar("SELECT position FROM public.skipped WHERE consumer = $1")
            .bind(consumer)
            .fetch_all(db)
            .await?;
        let (partitions, skipped) = (partitions.into_iter().collect(), skipped.into_iter().collect());
        let schema = schema.to_owned();
        Ok(Self { consumer, schema, partitions, skipped, takes_in_skipped: false, left_out: None })
    }

    /// One that leaves out, without noting anything, what the live tables have not taken in.
    pub(crate) async fn proving(db: &mut PgConnection, consumer: &dyn Consumer) -> sqlx::Result<Self> {
        let mut lot = Self::load(&mut *db, consumer, LIVE).await?;
        let parked: Vec<i64> =
            sqlx::query_scalar("SELECT position FROM public.parked WHERE consumer = $1 AND schema_name = $2")
                .bind(lot.consumer)
                .bind(LIVE)
                .fetch_all(db)
                .await?;
        lot.left_out = Some(parked.into_iter().collect());
        Ok(lot)
    }

    /// From now on what was skipped is no more.
    pub(crate) fn take_in_skipped(&mut self) {
        self.skipped.clear();
        self.takes_in_skipped = true;
    }

    /// Whether every event is simply taken in.
    pub(crate) fn is_empty(&self) -> bool {
        let nothing_left_out = self.left_out.as_ref().is_none_or(HashSet::is_empty);
        self.partitions.is_empty() && self.skipped.is_empty() && nothing_left_out
    }

    /// Whether what was skipped is no more.
    pub(crate) fn takes_in_skipped(&self) -> bool {
        self.takes_in_skipped
    }

    /// Takes events in, one transaction's worth. What belongs to a partition that waits is parked behind it. The
    /// first that is refused ends it; the caller rolls back.
    pub(crate) async fn apply(
        &self,
        db: &mut PgConnection,
        consumer: &dyn Consumer,
        events: &[Recorded],
    ) -> sqlx::Result<()> {
        let mut free = Vec::with_capacity(events.len());
        for event in events {
            match self.place_of(consumer, event) {
                Place::Free => free.push(event),
                Place::Behind(partition) => self.park(db, event, &partition, None).await?,
                Place::Out => {}
            }
        }
        consumer.apply_all(db, &free).await
    }

    /// As `apply`, but one that is refused by its own fault is parked. Each is applied in a savepoint, so this is
    /// for batches in which there is one. The caller keeps the changed lot when its transaction has committed.
    ///
    /// # Errors
    /// The position of the event that was in hand, and what the database says.
    pub(crate) async fn apply_carefully(
        &mut self,
        db: &mut PgConnection,
        consumer: &dyn Consumer,
        events: &[Recorded],
    ) -> Result<(), (i64, sqlx::Error)> {
        for event in events {
            let done = match self.place_of(consumer, event) {
                Place::Out => Ok(()),
                Place::Behind(partition) => self.park(db, event, &partition, None).await,
                Place::Free => match attempt(db, consumer, event).await {
                    Err(error) if is_of_the_event(&error) && self.parks() => {
                        let partition = partition_of(consumer, event);
                        let parked = self.park(db, event, &partition, Some(&error.to_string())).await;
                        self.partitions.insert(partition);
                        parked
                    }
                    tried => tried,
                },
            };
            done.map_err(|error| (event.position, error))?;
        }
        Ok(())
    }

    /// Whether it parks anything. One that proves does not: it must meet what the live tables have met.
    pub(crate) fn parks(&self) -> bool {
        self.left_out.is_none()
    }

    /// Whether nothing is done about the event at this position.
    pub(crate) fn leaves_out(&self, position: i64) -> bool {
        let is_parked = self.left_out.as_ref().is_some_and(|positions| positions.contains(&position));
        is_parked || self.skipped.contains(&position)
    }

    /// Whether both leave out the same events up to this position.
    pub(crate) fn agrees(&self, other: &Self, position: i64) -> bool {
        let left_out = |lot: &Self| {
            let parked = lot.left_out.iter().flatten();
            let all: HashSet<i64> =
                parked.chain(&lot.skipped).copied().filter(|at| *at <= position).collect();
            all
        };
        left_out(self) == left_out(other)
    }

    /// Parks an event that this version of the software cannot read.
    pub(crate) async fn park_unreadable(
        &mut self,
        db: &mut PgConnection,
        consumer: &dyn Consumer,
        event: &UnreadableEvent,
    ) -> sqlx::Result<()> {
        let row = sqlx::query(
            "SELECT aggregate_type, aggregate_id, team_id FROM public.events WHERE position = $1",
        )
        .bind(event.position)
        .fetch_one(&mut *db)
        .await?;
        let team = row.try_get::<Option<Uuid>, _>("team_id")?.map(TeamId);
        let partition =
            name(consumer.grain(), team, row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
        let refused = event.to_string();
        let error = (!self.partitions.contains(&partition)).then_some(refused.as_str());
        let (id, kind) = (event.event_id.0, &event.event_type);
        self.insert(db, event.position, id, kind, &partition, error).await?;
        self.partitions.insert(partition);
        Ok(())
    }

    fn place_of(&self, consumer: &dyn Consumer, event: &Recorded) -> Place {
        // Tables that are built anew are shown every event, so that a proof finds a `wants` that is wrong.
        let is_wanted = consumer.wants(event);
        if self.leaves_out(event.position) || !is_wanted && self.parks() && self.schema == LIVE {
            return Place::Out;
        }
        if !self.parks() || self.partitions.is_empty() {
            return Place::Free;
        }
        let partition = partition_of(consumer, event);
        match self.partitions.contains(&partition) {
            false => Place::Free,
            true if is_wanted => Place::Behind(partition),
            true => Place::Out,
        }
    }

    async fn park(
        &self,
        db: &mut PgConnection,
        event: &Recorded,
        partition: &str,
        error: Option<&str>,
    ) -> sqlx::Result<()> {
        self.insert(db, event.position, event.event_id.0, &event.event_type, partition, error).await
    }

    async fn insert(
        &self,
        db: &mut PgConnection,
        position: i64,
        event_id: Uuid,
        event_type: &str,
        partition: &str,
        error: Option<&str>,
    ) -> sqlx::Result<()> {
        let (name, schema) = (self.consumer, &self.schema);
        match error {
            Some(error) => tracing::error!(
                consumer = name, position, partition, event.id = %event_id, error,
                "{name} parks {partition} at event {event_id}: {error}"
            ),
            None => tracing::debug!(consumer = name, position, partition, "{name}: one more waits"),
        }
        sqlx::query(
            "INSERT INTO public.parked (consumer, schema_name, position, partition, event_id, event_type, error, attempts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(name)
        .bind(schema)
        .bind(position)
        .bind(partition)
        .bind(event_id)
        .bind(event_type)
        .bind(error)
        .bind(i32::from(error.is_some()))
        .execute(db)
        .await
        .map(drop)
    }
}

/// Where an event belongs.
enum Place {
    Free,
    Behind(String),
    Out,
}

/// Applies one event in a savepoint: when it is refused nothing of it is left.
pub(super) async fn attempt(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    event: &Recorded,
) -> sqlx::Result<()> {
    let mut savepoint = db.begin().await?;
    match consumer.apply(&mut savepoint, event).await {
        Ok(()) => savepoint.commit().await,
        Err(error) => {
            savepoint.rollback().await?;
            Err(error)
        }
    }
}

fn partition_of(consumer: &dyn Consumer, event: &Recorded) -> String {
    name(consumer.grain(), event.team_id, &event.aggregate_type, &event.aggregate_id)
}

fn name(grain: Grain, team: Option<TeamId>, aggregate_type: &str, aggregate_id: &str) -> String {
    match (grain, team) {
        (Grain::Team, Some(team)) => format!("team/{team}"),
        _ => format!("{aggregate_type}/{aggregate_id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_and_its_own_stream_are_one_partition() {
        let team = TeamId(Uuid::from_u128(2));
        let id = team.to_string();
        assert_eq!(name(Grain::Team, Some(team), "project", "7"), format!("team/{id}"));
        assert_eq!(name(Grain::Team, None, "team", &id), name(Grain::Team, Some(team), "team", &id));
        assert_eq!(name(Grain::Team, None, "user", "1"), "user/1");
        assert_eq!(name(Grain::Stream, Some(team), "project", "7"), "project/7");
    }
}
