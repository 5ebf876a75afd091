//! `verify`: proves that read models are what the log says.

use clap::Args;
use projections::verify;
use serde_json::json;

use crate::failure::Outcome;
use crate::tool::{Tool, read_models};

#[derive(Args)]
pub(crate) struct Verify {
    /// Name of a read model.
    #[arg(default_value = "all")]
    name: String,
}

impl Verify {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let models = read_models(&self.name)?;
        let pool = tool.pool().await?;
        for model in models {
            let good = verify::verify(pool, model.as_ref()).await?;
            let (name, position, rows) = (good.name, good.position, good.rows);
            let json = json!({ "name": name, "position": position, "rows": rows });
            tool.say(&format!("{name} is what the log says at position {position}: {rows} rows"), &json)?;
        }
        Ok(())
    }
}
