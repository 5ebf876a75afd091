//! `rollback`: the generation before.

use clap::Args;
use projections::rebuild;
use serde_json::json;

use crate::failure::{Failure, Outcome, chain};
use crate::progress;
use crate::tool::{Tool, one_read_model};

#[derive(Args)]
pub(crate) struct Rollback {
    /// Name of a read model.
    name: String,
}

impl Rollback {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let model = one_read_model(&self.name)?;
        let pool = tool.pool().await?;
        let name = model.name();
        let back = rebuild::rollback(pool, model.as_ref(), Some(&tool.actor));
        let back = progress::shown(tool, pool, name, back)
            .await
            .map_err(|error| Failure::Error(format!("{name} was not rolled back: {}", chain(&error))))?;
        let (generation, position) = (back.number, back.position);
        let words = format!("{name} is generation {generation} again, at position {position}");
        tool.say(&words, &json!({ "name": name, "generation": generation, "position": position }))
    }
}
