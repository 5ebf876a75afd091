//! What every verb has in hand: the database, who asks, and how to answer.

use std::sync::Arc;

use domain::envelope::Actor;
use projections::feed::Consumer;
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

    /// The database, connected to when it is first asked for: there are verbs that need none.
    pub(crate) async fn pool(&self) -> Result<&PgPool, Failure> {
        self.pool.get_or_try_init(|| database::connect(&self.place)).await
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
