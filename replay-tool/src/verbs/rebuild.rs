//! `rebuild`: read models anew, beside the live ones.

use clap::Args;
use projections::rebuild;
use serde_json::json;

use crate::failure::{Failure, Outcome, chain};
use crate::tool::{Tool, read_models};

#[derive(Args)]
pub(crate) struct Rebuild {
    /// Name of a read model.
    #[arg(default_value = "all")]
    name: String,
}

impl Rebuild {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let models = read_models(&self.name)?;
        let pool = tool.pool().await?;
        for model in models {
            let built = rebuild::rebuild(pool, model.as_ref()).await.map_err(|error| {
                Failure::Error(format!("{} was not rebuilt: {}", model.name(), chain(&error)))
            })?;
            let (name, position) = (built.name, built.position);
            let json = json!({ "name": name, "position": position });
            tool.say(&format!("{name} is rebuilt, at position {position}"), &json)?;
        }
        Ok(())
    }
}
