//! The query tables as they were: the queries of the present, asked of tables that were made up to a moment.
//!
//! Invariant: there is no second implementation of a query or of a read model. A past view is a connection of its own
//! in a transaction that never commits; the read models' own tables stand there as temporary ones, filled by their
//! own `apply` from the streams that matter, and no table of the present can be named there.

mod origin;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::fact::Recorded;
use domain::ids::{ProjectId, TeamId};
use domain::upcast::{UPCASTS, Upcast};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::feed::Consumer;
use crate::parked::is_of_the_event;
use crate::{log, read_models};

pub use origin::{Origin, Thing};
pub use view::View;

/// Views that are open at a time in one server process.
const VIEWS: usize = 4;
/// Events that are read and taken in at a time.
const BATCH: usize = 500;
/// How long a view may take to make.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes views of the past. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    pool: PgPool,
    steps: &'static [Upcast],
    views: Arc<Semaphore>,
}

/// What a view is of: it answers for this, and knows of nothing else.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The team it is in.
    pub team_id: TeamId,
    /// With one, of the team's streams only those of this project are wanted.
    pub project_id: Option<ProjectId>,
    /// Streams by kind and id.
    pub streams: Vec<(&'static str, String)>,
    /// Kinds of which all streams are wanted.
    pub all: &'static [&'static str],
}

/// A moment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Then {
    /// After the event at this position.
    pub position: i64,
    /// The time that was asked for, or that of the event.
    pub at: DateTime<Utc>,
}

/// Why there is no view.
#[derive(Debug, Error)]
pub enum PastError {
    /// As many are open as may be.
    #[error("too many views of the past are open")]
    Busy,
    /// It takes too long.
    #[error("there is too much to look back on")]
    TooLong,
    /// An event cannot be read.
    #[error("the log holds an event that cannot be read")]
    Unreadable(#[from] domain::fact::UnreadableEvent),
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for PastError {
    fn from(error: sqlx::Error) -> Self {
        const QUERY_CANCELED: &str = "57014";
        let code = error.as_database_error().and_then(|error| error.code());
        if code.is_some_and(|code| code == QUERY_CANCELED) { Self::TooLong } else { Self::Database(error) }
    }
}

/// The read models that take in the streams of a kind.
fn models_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "team" => &["teams"],
        "user" => &["users"],
        "role" | "role_assignment" => &["roles"],
        "project" => &["projects", "env_vars", "repository_access", "tokens"],
        "build" => &["builds"],
        "deployment" => &["deployments"],
        _ => &[],
    }
}

impl Archive {
    /// The archive of this log.
    pub fn new(pool: PgPool) -> Self {
        Self::upcasting(pool, UPCASTS)
    }

    /// As `new`, with other steps than the product's for events of earlier versions.
    pub fn upcasting(pool: PgPool, steps: &'static [Upcast]) -> Self {
        Self { pool, steps, views: Arc::new(Semaphore::new(VIEWS)) }
    }

    /// How long one may look back.
    pub fn patience(&self) -> Duration {
        PATIENCE
    }

    /// The tables of this extent after the event at `then`.
    pub async fn open(&self, extent: Extent, then: Then) -> Result<View, PastError> {
        let mut past = self.begin(extent).await?;
        tokio::time::timeout(PATIENCE, past.go_to(then.position)).await.map_err(|_| PastError::TooLong)??;
        Ok(View::past(past.db, then, past.permit))
    }

    /// As `open`, with nothing taken in yet, for who wants to see how it came about.
    pub async fn begin(&self, extent: Extent) -> Result<Past, PastError> {
        let permit = self.views.clone().try_acquire_owned().map_err(|_| PastError::Busy)?;
        let kinds = extent.streams.iter().map(|(kind, _)| *kind).chain(extent.all.iter().copied());
        let names: BTreeSet<&str> = kinds.flat_map(models_of).copied().collect();
        let models: Vec<_> = read_models().into_iter().filter(|model| names.contains(model.name())).collect();
        let mut db = crate::pool::alone(&self.pool).await?;
        // A table that is missing here must not be found among those of the present.
        db.execute("SET search_path = pg_temp, public; SET statement_timeout = '10s'; BEGIN").await?;
        for model in &models {
            db.execute(model.tables()).await?;
        }
        Ok(Past { db, models, extent, steps: self.steps, position: 0, permit })
    }
}

/// A view that is being made. Dropping it leaves nothing: its transaction ends with its connection.
pub struct Past {
    /// The tables as they are after `position`.
    pub db: PgConnection,
    models: Vec<Arc<dyn Consumer>>,
    extent: Extent,
    steps: &'static [Upcast],
    position: i64,
    permit: OwnedSemaphorePermit,
}

impl Past {
    /// Takes in what follows, up to the event at `to`.
    pub async fn go_to(&mut self, to: i64) -> Result<(), PastError> {
        let positions = self.positions(to).await?;
        for some in positions.chunks(BATCH) {
            let events = self.read(some).await?;
            self.take_in(&events).await?;
        }
        self.position = to;
        Ok(())
    }

    /// The places of the events that are not taken in yet and stand up to `to`, in order.
    pub async fn positions(&mut self, to: i64) -> Result<Vec<i64>, PastError> {
        let Extent { team_id, project_id, streams, all } = &self.extent;
        Ok(log::positions_of(&mut self.db, *team_id, *project_id, streams, all, self.position, to).await?)
    }

    /// The events at these places.
    pub async fn read(&mut self, positions: &[i64]) -> Result<Vec<Recorded>, PastError> {
        let rows = log::read_at(&mut self.db, positions).await?;
        Ok(rows.into_iter().map(|row| row.read_with(self.steps)).collect::<Result<_, _>>()?)
    }

    /// Lets every read model take in these events. The only place that does.
    pub async fn take_in(&mut self, events: &[Recorded]) -> Result<(), PastError> {
        for model in &self.models {
            let wanted: Vec<_> = events.iter().filter(|event| model.wants(event)).collect();
            take_in(&mut self.db, model.as_ref(), &wanted).await?;
        }
        if let Some(last) = events.last() {
            self.position = last.position;
        }
        Ok(())
    }

    /// Ends it politely; without this the server notices a moment later.
    pub async fn close(self) {
        let _ = self.db.close().await;
    }
}

/// Takes in events together; one by one when their rows get into each other's way, as names do that are exchanged.
async fn take_in(db: &mut PgConnection, model: &dyn Consumer, events: &[&Recorded]) -> sqlx::Result<()> {
    db.execute("SAVEPOINT together").await?;
    match model.apply_all(db, events).await {
        Err(error) if is_of_the_event(&error) && events.len() > 1 => {
            db.execute("ROLLBACK TO together").await?;
            for event in events {
                model.apply(db, event).await?;
            }
        }
        taken => taken?,
    }
    db.execute("RELEASE together").await.map(drop)
}
