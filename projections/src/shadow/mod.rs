//! Tables of a read model beside the live ones, in a schema of their own: on their way to become the live ones, to
//! prove them, or kept from before. How far they are stands in `generations`, in the transaction of each batch.

mod fill;
mod indexes;
mod intake;

use domain::upcast::{UPCASTS, Upcast};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, PgPool, Row};

use crate::feed::{Batch, Broken, Consumer};
use crate::parked::{Lot, is_of_the_event};
use crate::rebuild::RebuildError;

pub(crate) use fill::MEMORY;

/// It takes as long as it takes.
const SETTINGS: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET maintenance_work_mem = '128MB'";

/// The tables and the connection that builds them, on which their names come before the live ones'.
pub(crate) struct Shadow {
    pub(crate) db: PgConnection,
    pub(crate) schema: String,
    /// Number of the generation.
    pub(crate) number: i64,
    /// The last event taken in.
    pub(crate) position: i64,
    /// How many events were taken in, or passed by as of no interest.
    pub(crate) events: i64,
    /// Up to where it was compared with the log already.
    compared: Reach,
    /// What waits or is left out.
    pub(crate) lot: Lot,
    /// Where the log is read.
    pool: PgPool,
    /// How events of earlier versions are read.
    pub(crate) steps: &'static [Upcast],
    /// Bytes that rows may take in memory while the tables are filled.
    memory: usize,
    /// Whether there is nothing to fill any more: what follows is taken in batch by batch.
    is_filled: bool,
}

/// How far tables have come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) position: i64,
    pub(crate) events: i64,
}

impl Shadow {
    /// Tables that are to become the live ones. Goes on where an interrupted rebuild by the same version of the
    /// code has come to, unless it is to begin afresh. Waits for another rebuild of this read model.
    pub(crate) async fn building(
        pool: &PgPool,
        consumer: &dyn Consumer,
        afresh: bool,
    ) -> Result<Self, RebuildError> {
        let schema = format!("rebuild_{}", consumer.name());
        let mut db = connect(pool, &schema).await?;
        let left = if afresh { None } else { left_behind(&mut db, consumer, &schema).await? };
        let (number, reach) = match left {
            Some(found) => found,
            None => (make(&mut db, consumer, &schema, "building").await?, Reach::default()),
        };
        Self::over(pool, db, consumer, schema, number, reach).await
    }

    /// Empty tables, in which everything is left out that the live ones have not taken in.
    pub(crate) async fn proving(pool: &PgPool, consumer: &dyn Consumer) -> Result<Self, RebuildError> {
        let schema = format!("verify_{}", consumer.name());
        let mut db = connect(pool, &schema).await?;
        let number = make(&mut db, consumer, &schema, "proving").await?;
        let lot = Lot::proving(&mut db, consumer).await?;
        let (pool, steps, memory) = (pool.clone(), UPCASTS, MEMORY);
        Ok(Self {
            db,
            schema,
            number,
            position: 0,
            events: 0,
            compared: Reach::default(),
            lot,
            pool,
            steps,
            memory,
            is_filled: false,
        })
    }

    /// Tables that were kept.
    pub(crate) async fn kept(
        pool: &PgPool,
        consumer: &dyn Consumer,
        schema: String,
    ) -> Result<Self, RebuildError> {
        let mut db = connect(pool, &schema).await?;
        let row = sqlx::query(
            "SELECT number, position, events FROM public.generations WHERE schema_name = $1 AND state = 'kept'",
        )
        .bind(&schema)
        .fetch_optional(&mut db)
        .await?
        .ok_or_else(|| RebuildError::NoGeneration { name: consumer.name() })?;
        let reach = Reach { position: row.try_get("position")?, events: row.try_get("events")? };
        let number = row.try_get("number")?;
        Ok(Self { is_filled: true, ..Self::over(pool, db, consumer, schema, number, reach).await? })
    }

    async fn over(
        pool: &PgPool,
        mut db: PgConnection,
        consumer: &dyn Consumer,
        schema: String,
        number: i64,
        Reach { position, events }: Reach,
    ) -> Result<Self, RebuildError> {
        sqlx::raw_sql(&format!("SET search_path = {schema}, public")).execute(&mut db).await?;
        let lot = Lot::load(&mut db, consumer, &schema).await?;
        let (pool, steps, memory) = (pool.clone(), UPCASTS, MEMORY);
        let compared = Reach::default();
        Ok(Self {
            db,
            schema,
            number,
            position,
            events,
            compared,
            lot,
            pool,
            steps,
            memory,
            is_filled: false,
        })
    }

    /// Its rows may take only so many bytes in memory while the tables are filled.
    pub(crate) fn within(mut self, memory: usize) -> Self {
        self.memory = memory;
        self
    }

    /// Events of earlier versions are read by these steps.
    pub(crate) fn upcasting(mut self, steps: &'static [Upcast]) -> Self {
        self.steps = steps;
        self
    }

    /// Takes in the events up to `to`: into empty tables by a fold in memory, later a transaction a batch.
    pub(crate) async fn catch_up(&mut self, consumer: &dyn Consumer, to: i64) -> Result<(), RebuildError> {
        self.fill(consumer, to).await?;
        while self.position < to {
            let mut tx = self.db.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
            let mut lot = self.lot.clone();
            let position = take_in(&mut tx, consumer, &mut lot, self.steps, self.position, to).await?;
            let events = self.events + position - self.position;
            note(&mut tx, &self.schema, position, events).await?;
            tx.commit().await?;
            (self.position, self.events, self.lot) = (position, events, lot);
        }
        Ok(())
    }

    /// Whether it has taken in exactly what the log has up to its position: compared by count, as a reader that
    /// ended early or met a hole would not have noticed.
    pub(crate) async fn check(&mut self) -> Result<(), RebuildError> {
        let (position, events) = (self.position, self.events);
        let (count, last): (i64, i64) = sqlx::query_as(
            "SELECT $2 + count(*), coalesce(max(position), $1) FROM public.events
              WHERE position > $1 AND position <= $3",
        )
        .bind(self.compared.position)
        .bind(self.compared.events)
        .bind(position)
        .fetch_one(&mut self.db)
        .await?;
        if (count, last) == (events, position) {
            self.compared = Reach { position, events };
            return Ok(());
        }
        Err(RebuildError::Incomplete { events, position, count, last })
    }

    /// Removes what is left of it. Best effort: the next one of this name removes it as well.
    pub(crate) async fn remove(mut self) {
        if let Err(error) = drop_schema(&mut self.db, &self.schema).await {
            tracing::warn!(%error, "the schema {} was not removed", self.schema);
        }
    }
}

/// A connection that has these tables to itself until it is closed.
async fn connect(pool: &PgPool, schema: &str) -> sqlx::Result<PgConnection> {
    let mut db = crate::pool::alone(pool).await?;
    sqlx::raw_sql(SETTINGS).execute(&mut db).await?;
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))").bind(schema).execute(&mut db).await?;
    Ok(db)
}

/// What an interrupted rebuild has left, if this code can go on with it.
async fn left_behind(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    schema: &str,
) -> sqlx::Result<Option<(i64, Reach)>> {
    let row = sqlx::query(
        "SELECT number, position, events FROM public.generations
          WHERE schema_name = $1 AND state = 'building' AND version = $2 AND table_names = $3
            AND position > 0 AND position <= (SELECT position FROM public.log_head)
            AND EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)
            -- What was skipped may have been taken in before, or was to be.
            AND NOT EXISTS (SELECT FROM public.skipped WHERE skipped.consumer = generations.consumer)",
    )
    .bind(schema)
    .bind(consumer.version())
    .bind(consumer.table_names())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let reach = Reach { position: row.try_get("position")?, events: row.try_get("events")? };
    tracing::info!(consumer = consumer.name(), reach.position, "{schema} goes on where it was interrupted");
    Ok(Some((row.try_get("number")?, reach)))
}

/// Makes empty tables; removes what was there.
async fn make(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    schema: &str,
    state: &str,
) -> sqlx::Result<i64> {
    let mut tx = db.begin().await?;
    drop_schema(&mut tx, schema).await?;
    sqlx::raw_sql(&format!("CREATE SCHEMA {schema}; SET search_path = {schema}, public"))
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql(consumer.tables()).execute(&mut *tx).await?;
    let number = sqlx::query_scalar(
        "INSERT INTO public.generations (schema_name, consumer, number, version, state, table_names)
         VALUES ($1, $2, nextval('public.generation_numbers'), $3, $4, $5) RETURNING number",
    )
    .bind(schema)
    .bind(consumer.name())
    .bind(consumer.version())
    .bind(state)
    .bind(consumer.table_names())
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(number)
}

/// Removes tables and all that is noted of them.
pub(crate) async fn drop_schema(db: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    sqlx::raw_sql(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).execute(&mut *tx).await?;
    for forget in [
        "DELETE FROM public.parked WHERE schema_name = $1",
        "DELETE FROM public.generations WHERE schema_name = $1",
    ] {
        sqlx::query(forget).bind(schema).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// Notes how far tables have come. Part of the transaction that brought them there.
async fn note(db: &mut PgConnection, schema: &str, position: i64, events: i64) -> sqlx::Result<()> {
    sqlx::query("UPDATE public.generations SET position = $2, events = $3 WHERE schema_name = $1")
        .bind(schema)
        .bind(position)
        .bind(events)
        .execute(db)
        .await
        .map(drop)
}

/// Takes in one batch of the events after `from` and up to `to`; answers the last one's position. An event that is
/// refused by its own fault is parked, if this lot parks.
pub(crate) async fn take_in(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    lot: &mut Lot,
    steps: &[Upcast],
    from: i64,
    to: i64,
) -> Result<i64, RebuildError> {
    let batch = Batch::read(&mut *db, from, steps).await?;
    let events = batch.after(from);
    let events = &events[..events.partition_point(|event| event.position <= to)];
    let Some(last) = events.last() else { return take_in_unread(db, consumer, lot, &batch, from + 1).await };
    let mut savepoint = db.begin().await?;
    match lot.apply(&mut savepoint, consumer, events).await {
        Ok(()) => savepoint.commit().await?,
        Err(error) if is_of_the_event(&error) => {
            savepoint.rollback().await?;
            let applied = lot.apply_carefully(db, consumer, events).await;
            applied.map_err(|(position, source)| RebuildError::Refused { position, source })?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(last.position)
}

async fn take_in_unread(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    lot: &mut Lot,
    batch: &Batch,
    position: i64,
) -> Result<i64, RebuildError> {
    let why = match batch.broken() {
        Some(Broken::Unreadable(_)) if lot.leaves_out(position) => return Ok(position),
        Some(Broken::Unreadable(event)) if lot.parks() => {
            lot.park_unreadable(db, consumer, event).await?;
            return Ok(position);
        }
        Some(Broken::Unreadable(event)) => event.to_string(),
        Some(Broken::Missing(why)) => why.clone(),
        None => "the log ends before".to_owned(),
    };
    Err(RebuildError::Unreadable { position, why })
}
