//! `rebuild`: read models anew, beside the live ones.

use clap::Args;
use projections::rebuild::{self, Options};
use serde_json::json;

use crate::failure::{Failure, Outcome, chain};
use crate::progress;
use crate::tool::{Tool, read_models};

#[derive(Args)]
pub(crate) struct Rebuild {
    /// Name of a read model.
    #[arg(default_value = "all")]
    name: String,
    /// Begin at the first event, also when a rebuild that was interrupted could go on.
    #[arg(long)]
    afresh: bool,
    /// Take in, too, the events that operators have skipped; begins at the first event.
    #[arg(long)]
    with_skipped: bool,
}

impl Rebuild {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        for model in read_models(&self.name)? {
            one(tool, model.as_ref(), self.afresh, self.with_skipped).await?;
        }
        Ok(())
    }
}

/// Rebuilds one read model, and says so when it is swapped in.
pub(super) async fn one(
    tool: &Tool,
    model: &dyn projections::feed::Consumer,
    afresh: bool,
    with_skipped: bool,
) -> Outcome {
    let pool = tool.pool().await?;
    let options = Options { by: Some(&tool.actor), afresh, with_skipped, memory: None };
    let name = model.name();
    let built = progress::shown(tool, pool, name, rebuild::rebuild_with(pool, model, options)).await;
    let built =
        built.map_err(|error| Failure::Error(format!("{name} was not rebuilt: {}", chain(&error))))?;
    let parked = super::parked_events(pool, name).await?;
    let words = match (built.resumed_at, parked) {
        (0, 0) => format!("{name} is rebuilt, at position {}", built.position),
        (from, 0) => format!("{name} is rebuilt, at position {}; it went on after {from}", built.position),
        (_, parked) => {
            format!("{name} is rebuilt, at position {}; {parked} events are parked", built.position)
        }
    };
    let json = json!({
        "name": name,
        "position": built.position,
        "events": built.events,
        "generation": built.generation,
        "resumedAt": built.resumed_at,
        "parked": parked,
    });
    tool.say(&words, &json)
}
