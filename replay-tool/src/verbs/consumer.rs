//! `consumer`: who reads the log, and whether.

use clap::{Args, Subcommand};
use projections::feed;
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::tool::{Tool, read_models};

#[derive(Args)]
pub(crate) struct Consumer {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// From now on nobody reads for it, in any server. What it shows stands still.
    Pause {
        /// Name of a read model or a process.
        name: String,
    },
    /// It goes on where it was paused.
    Resume {
        /// Name of a read model or a process.
        name: String,
    },
    /// Sets it back: a read model is built anew from the first event. A process would do all its work again, so for
    /// a process this is refused, unless it is to go on at the end of the log.
    Reset {
        /// Name of a read model or a process.
        name: String,
        /// A process goes on at the end of the log; what it has not read is never done.
        #[arg(long)]
        to_head: bool,
    },
}

impl Consumer {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let pool = tool.pool().await?;
        match self.act {
            Act::Pause { name } => {
                let changed = feed::pause(pool, &name, &tool.actor).await?;
                let words = if changed { "is paused" } else { "was paused already" };
                tool.say(
                    &format!("{name} {words}"),
                    &json!({ "name": name, "paused": true, "changed": changed }),
                )
            }
            Act::Resume { name } => {
                let changed = feed::resume(pool, &name, &tool.actor).await?;
                let words = if changed { "goes on" } else { "was not paused" };
                tool.say(
                    &format!("{name} {words}"),
                    &json!({ "name": name, "paused": false, "changed": changed }),
                )
            }
            Act::Reset { name, to_head } => reset(tool, &name, to_head).await,
        }
    }
}

async fn reset(tool: &Tool, name: &str, to_head: bool) -> Outcome {
    let is_read_model = projections::read_models().iter().any(|model| model.name() == name);
    match (is_read_model, to_head) {
        (true, true) => Err(Failure::because(format!(
            "{name} is a read model: at the end of the log it would lack what came before; reset it without --to-head"
        ))),
        (true, false) => {
            for model in read_models(name)? {
                super::rebuild::one(tool, model.as_ref(), true, false).await?;
            }
            Ok(())
        }
        (false, false) => Err(Failure::because(format!(
            "{name} is no read model: a process that begins anew would do all its work again, builds and mails \
             included; with --to-head it goes on at the end of the log"
        ))),
        (false, true) => {
            let (from, to) = feed::reset_to_head(tool.pool().await?, name, &tool.actor).await?;
            let words = format!("{name} goes on after position {to}; it was at {from}");
            tool.say(&words, &json!({ "name": name, "oldPosition": from, "position": to }))
        }
    }
}

impl From<feed::ControlError> for Failure {
    fn from(error: feed::ControlError) -> Self {
        Self::Error(error.to_string())
    }
}
