//! How far something that takes long has come: a bar on a terminal, otherwise a line now and then; on standard
//! error, so that answers stay alone.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use projections::{generations, log};
use sqlx::PgPool;

use crate::tool::Tool;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often a line says it where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// Runs what builds tables of a read model, and shows meanwhile how far they are.
pub(crate) async fn shown<T>(tool: &Tool, pool: &PgPool, name: &str, work: impl Future<Output = T>) -> T {
    let is_terminal = std::io::stderr().is_terminal() && !tool.json;
    let bar = if is_terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let style =
        ProgressStyle::with_template("{msg:<20} {bar:40} {human_pos} of {human_len} events, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_owned());
    let watch = async {
        let mut said = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let Ok((position, head)) = reached(pool, name).await else { continue };
            bar.set_length(head);
            bar.set_position(position);
            if !is_terminal && said.elapsed() >= LINE {
                said = Instant::now();
                let line = writeln!(std::io::stderr(), "{name}: {position} of {head} events");
                drop(line); // nobody has to read it
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = watch => unreachable!("it never ends"),
    };
    bar.finish_and_clear();
    done
}

async fn reached(pool: &PgPool, name: &str) -> sqlx::Result<(u64, u64)> {
    let head = log::head(pool).await?;
    let all = generations::list(pool).await?;
    let building = all.iter().filter(|found| found.consumer == name && found.state != "kept");
    let position = building.map(|found| found.position).max().unwrap_or(head);
    Ok((u64::try_from(position).unwrap_or(0), u64::try_from(head).unwrap_or(0)))
}
