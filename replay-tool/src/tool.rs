//! What every verb has in hand: the database, who asks, and how to answer.

use std::path::Path;
use std::sync::Arc;

use domain::envelope::Actor;
use domain::operation::OperationEvent;
use projections::feed::Consumer;
use projections::operations;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::failure::{Failure, Outcome};
use crate::{Place, actor, database, output};

pub(crate) struct Tool {
    place: Place,
    /// Whether to answer as JSON.
    pub(crate) json: bool,
    /// Who asks.
    pub(crate) actor: Actor,
    pool: OnceCell<PgPool>,
}

impl Tool {
    pub(crate) fn new(place: Place, json: bool, actor: Option<Actor>) -> Self {
        Self { place, json, actor: actor.unwrap_or_else(actor::of_the_system), pool: OnceCell::new() }
    }

    /// The server's data dir.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.place.data_dir
    }

    /// The database, connected to when it is first asked for: there are verbs that need none.
    pub(crate) async fn pool(&self) -> Result<&PgPool, Failure> {
        self.pool.get_or_try_init(|| database::connect(&self.place)).await
    }

    /// Records what was done, when that could not be part of the transaction that did it.
    pub(crate) async fn record(&self, done: &OperationEvent) -> Outcome {
        let mut db = self.pool().await?.acquire().await?;
        operations::record(&mut db, &self.actor, done).await?;
        Ok(())
    }

    /// One thing to tell: as JSON, or in words.
    pub(crate) fn say(&self, words: &str, json: &Value) -> Outcome {
        if self.json { output::line(json) } else { output::line(words) }
    }
}

/// The read model of this name, or all of them.
pub(crate) fn read_models(name: &str) -> Result<Vec<Arc<dyn Consumer>>, Failure> {
    let mut models = projections::read_models();
    if name == "all" {
        return Ok(models);
    }
    let names: Vec<_> = models.iter().map(|model| model.name()).collect();
    let unknown = format!("there is no read model {name}; there are: {}", names.join(", "));
    models.retain(|model| model.name() == name);
    if models.is_empty() { Err(Failure::because(unknown)) } else { Ok(models) }
}

/// The read model of this name.
pub(crate) fn one_read_model(name: &str) -> Result<Arc<dyn Consumer>, Failure> {
    match read_models(name)?.as_slice() {
        [model] => Ok(model.clone()),
        _ => Err(Failure::because("name one read model")),
    }
}
