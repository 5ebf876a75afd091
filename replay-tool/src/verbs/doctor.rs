//! `doctor`: whether the log is as it must be.

use clap::Args;
use projections::doctor::{self, Verdict};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::tool::Tool;

#[derive(Args)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let findings = doctor::examine(tool.pool().await?).await?;
        let mut bad = Vec::new();
        for finding in findings {
            let verdict = match finding.verdict {
                Verdict::Good => "good",
                Verdict::Advice => "advice",
                Verdict::Bad => "BAD",
            };
            tool.say(&format!("{:<10} {verdict:<7} {}", finding.check, finding.detail), &json!(finding))?;
            if finding.verdict == Verdict::Bad {
                bad.push(format!("{}: {}", finding.check, finding.detail));
            }
        }
        if bad.is_empty() { Ok(()) } else { Err(Failure::Different(bad.join("; "))) }
    }
}
