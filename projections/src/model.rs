//! A read model as a fold of events over rows, and the two ways to run it: batch by batch on live tables, and from
//! the beginning of the log into new ones.

use std::future::Future;

use async_trait::async_trait;
use domain::fact::{Fact, Recorded};
use sqlx::PgConnection;

use crate::feed::{Consumer, Fold};
use crate::parked::Grain;
use crate::rows::{Encoded, Rows, Store};

/// A read model.
pub(crate) trait ReadModel: Send + Sync + 'static {
    /// The key of its checkpoint: stored, never changed.
    const NAME: &'static str;
    /// Raised with every change of its tables or of what stands in them.
    const VERSION: i32;
    /// The statements that make its tables.
    const TABLES: &'static str;
    /// The names of its tables.
    const TABLE_NAMES: &'static [&'static str];
    /// The kinds of aggregates whose events it looks at; all of them when empty.
    const KINDS: &'static [&'static str];

    /// Types of events of those kinds with which it does nothing, where there are many of them.
    const PASSES_OVER: &'static [&'static str] = &[];

    /// What waits behind an event that it cannot take in.
    const GRAIN: Grain = Grain::Team;

    /// Its tables, as `apply` sees them.
    type Rows: Rows;

    /// Tells which rows `apply` will ask for, so that those of a batch are fetched together. What it leaves out is
    /// fetched alone.
    fn foresee(_rows: &mut Self::Rows, _recorded: &Recorded, _fact: &Fact) {}

    /// Takes in one fact of an event. It is given neither clock nor random, so that a rebuild gives the same bytes;
    /// `db` is where rows come from that are not in memory.
    fn apply(
        rows: &mut Self::Rows,
        db: &mut PgConnection,
        recorded: &Recorded,
        fact: &Fact,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Takes in an event: all its facts in their order. Another way is for who has a row for each event, also for one
    /// that says nothing any more.
    fn apply_event(
        rows: &mut Self::Rows,
        db: &mut PgConnection,
        recorded: &Recorded,
    ) -> impl Future<Output = sqlx::Result<()>> + Send {
        async move {
            for fact in &recorded.facts {
                Self::apply(rows, db, recorded, fact).await?;
            }
            Ok(())
        }
    }
}

#[async_trait]
impl<M: ReadModel> Consumer for M {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn version(&self) -> i32 {
        M::VERSION
    }

    fn tables(&self) -> &'static str {
        M::TABLES
    }

    fn table_names(&self) -> &'static [&'static str] {
        M::TABLE_NAMES
    }

    fn kinds(&self) -> &'static [&'static str] {
        M::KINDS
    }

    fn passes_over(&self) -> &'static [&'static str] {
        M::PASSES_OVER
    }

    fn grain(&self) -> Grain {
        M::GRAIN
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        self.apply_all(db, &[recorded]).await
    }

    async fn apply_all(&self, db: &mut PgConnection, batch: &[&Recorded]) -> sqlx::Result<()> {
        let mut rows = M::Rows::default();
        fetch::<M>(&mut rows, db, batch).await?;
        for recorded in batch {
            M::apply_event(&mut rows, db, recorded).await?;
        }
        for table in rows.tables() {
            table.save(db).await?;
        }
        Ok(())
    }

    fn fold(&self, memory: usize, are_empty: bool) -> Option<Box<dyn Fold>> {
        let mut rows = M::Rows::default();
        rows.tables().into_iter().for_each(|table| table.begin_filling(are_empty));
        Some(Box::new(Folding::<M> { rows, memory, taken: 0, spilled: !are_empty }))
    }
}

async fn fetch<M: ReadModel>(
    rows: &mut M::Rows,
    db: &mut PgConnection,
    batch: &[&Recorded],
) -> sqlx::Result<()> {
    for recorded in batch {
        recorded.facts.iter().for_each(|fact| M::foresee(rows, recorded, fact));
    }
    for table in rows.tables() {
        table.fetch(db).await?;
    }
    Ok(())
}

/// A read model on its way from an empty table.
struct Folding<M: ReadModel> {
    rows: M::Rows,
    /// Bytes its rows may take.
    memory: usize,
    /// Bytes of payload taken in since they were last weighed: they weigh no more than that more.
    taken: usize,
    spilled: bool,
}

#[async_trait]
impl<M: ReadModel> Fold for Folding<M> {
    async fn apply(&mut self, db: &mut PgConnection, batch: &[Recorded]) -> Result<(), (i64, sqlx::Error)> {
        let last = batch.last().map_or(0, |recorded| recorded.position);
        if self.spilled {
            let batch: Vec<_> = batch.iter().collect();
            fetch::<M>(&mut self.rows, db, &batch).await.map_err(|error| (last, error))?;
        }
        for recorded in batch {
            let applied = M::apply_event(&mut self.rows, db, recorded).await;
            applied.map_err(|error| (recorded.position, error))?;
            self.taken += recorded.payload.len();
        }
        Ok(())
    }

    fn is_in_memory(&self) -> bool {
        !self.spilled
    }

    fn is_heavy(&self) -> bool {
        self.taken >= self.memory
    }

    /// Weighing takes time, so it is done when it may be too much only.
    async fn make_room(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        if !self.is_heavy() {
            return Ok(());
        }
        self.taken = self.rows.tables().iter().map(|table| table.weight()).sum();
        if self.taken >= self.memory / 2 {
            for table in self.rows.tables() {
                table.spill(db).await?;
            }
            (self.taken, self.spilled) = (0, true);
        }
        Ok(())
    }

    fn take_full(&mut self) -> Vec<Encoded> {
        self.rows.tables().into_iter().filter_map(Store::take_full).collect()
    }

    async fn store(&mut self, db: &mut PgConnection, is_last: bool) -> sqlx::Result<()> {
        for table in self.rows.tables() {
            table.save(db).await?;
            if !is_last {
                table.make_key(db).await?;
            }
        }
        Ok(())
    }
}
