//! `verify`: proves that read models are what the log says.

use clap::Args;
use projections::verify::{self, Verified};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::progress;
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
        let mut lacking = Vec::new();
        for model in models {
            let proof = verify::verify(pool, model.as_ref());
            let good = progress::shown(tool, pool, model.name(), proof).await?;
            let lacks = lacks(&good);
            let (name, position, rows) = (good.name, good.position, good.rows);
            let but =
                if lacks.is_empty() { String::new() } else { format!(", but for {}", lacks.join(", ")) };
            let words = format!("{name} is what the log says at position {position}{but}: {rows} rows");
            let json = json!({
                "name": name,
                "position": position,
                "rows": rows,
                "parked": good.parked,
                "skipped": good.skipped,
            });
            tool.say(&words, &json)?;
            if !lacks.is_empty() {
                lacking.push(name);
            }
        }
        match lacking.as_slice() {
            [] => Ok(()),
            names => Err(Failure::Parked(format!(
                "not all that the log says is taken in by {}; `dlq list` says what is parked",
                names.join(", ")
            ))),
        }
    }
}

fn lacks(good: &Verified) -> Vec<String> {
    let parked = good.parked.iter().map(|parked| {
        let (events, partition, position) = (parked.events, &parked.partition, parked.position);
        format!("{events} parked of {partition} from position {position}")
    });
    let skipped = (good.skipped > 0).then(|| format!("{} skipped", good.skipped));
    parked.chain(skipped).collect()
}
