//! `gc`: away with what was kept.

use clap::Args;
use projections::generations;
use serde_json::json;

use crate::failure::Outcome;
use crate::tool::{Tool, one_read_model};

#[derive(Args)]
pub(crate) struct Gc {
    /// Name of a read model; without it, all of them.
    name: Option<String>,
    /// Remove, too, what interrupted rebuilds have left for the next one to go on.
    #[arg(long)]
    unfinished: bool,
}

impl Gc {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        if let Some(name) = &self.name {
            one_read_model(name)?;
        }
        let pool = tool.pool().await?;
        let gone = generations::collect(pool, self.name.as_deref(), self.unfinished, &tool.actor).await?;
        let words = match gone.as_slice() {
            [] => "nothing is kept".to_owned(),
            gone => format!("removed: {}", gone.join(", ")),
        };
        tool.say(&words, &json!({ "removed": gone }))
    }
}
