//! `export` and `import`: a log from one database into another.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use domain::operation::OperationEvent;
use projections::{log, operations};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::failure::{Failure, Outcome};
use crate::tool::Tool;
use crate::transfer::Trailer;
use crate::transfer::export::export;
use crate::transfer::import::import;

#[derive(Args)]
pub(crate) struct Export {
    /// The file to make; standard output without it.
    file: Option<PathBuf>,
    /// The last position to write; the end of the log without it.
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    until: Option<i64>,
    /// With the keys of what is sealed, wrapped by the master key. That they were exported is recorded first.
    #[arg(long)]
    with_keys: bool,
}

#[derive(Args)]
pub(crate) struct Import {
    /// The file to read; standard input without it.
    file: Option<PathBuf>,
}

impl Export {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let pool = tool.pool().await?;
        let head = log::head(pool).await?;
        let until = self.until.unwrap_or(head);
        if until > head {
            return Err(Failure::because(format!("the log ends at position {head}")));
        }
        let mut db = connect(pool).await?;
        let Some(path) = &self.file else {
            let mut out = BufWriter::new(io::stdout().lock());
            return self.write(tool, &mut db, until, &mut out).await.map(drop);
        };
        let mut out = BufWriter::new(create(path)?);
        let trailer = self.write(tool, &mut db, until, &mut out).await?;
        out.get_ref().sync_all()?;
        let (events, sha256) = (trailer.counts.events, &trailer.sha256);
        let words = format!("{events} events are exported to {}; SHA-256 {sha256}", path.display());
        tool.say(&words, &json!({ "counts": trailer.counts, "sha256": sha256 }))
    }

    async fn write(
        &self,
        tool: &Tool,
        db: &mut PgConnection,
        until: i64,
        out: &mut impl Write,
    ) -> Result<Trailer, Failure> {
        if self.with_keys {
            let done = OperationEvent::LogExportedWithKeys { position: until };
            operations::record(db, &tool.actor, &done).await?;
        }
        // The order of the log is that of an index: nothing is sorted, everything flows.
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_sort = off").await?;
        export(db, until, self.with_keys, out).await
    }
}

impl Import {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let mut db = connect(tool.pool().await?).await?;
        let mut tx = db.begin().await?;
        let trailer = match &self.file {
            None => import(&mut tx, &mut io::stdin().lock()).await?,
            Some(path) => {
                let unreadable =
                    |error| Failure::because(format!("{} cannot be read: {error}", path.display()));
                import(&mut tx, &mut BufReader::new(File::open(path).map_err(unreadable)?)).await?
            }
        };
        let Trailer { counts, sha256 } = trailer;
        let events = counts.events;
        let done = OperationEvent::LogImported { events, sha256: sha256.clone() };
        let position = operations::record(&mut tx, &tool.actor, &done).await?;
        tx.commit().await?;
        let words = format!(
            "{events} events are imported; that they were is event {position}: `export --until {events}` gives the same \
             file again"
        );
        tool.say(&words, &json!({ "counts": counts, "sha256": sha256, "position": position }))
    }
}

/// A connection that is as patient as a log is long.
async fn connect(pool: &PgPool) -> Result<PgConnection, Failure> {
    let mut db = projections::pool::alone(pool).await?;
    db.execute(
        "SET search_path = public; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    )
    .await?;
    Ok(db)
}

/// A new file for its owner alone: a log tells much, and its keys all.
fn create(path: &Path) -> Result<File, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| Failure::because(format!("{} cannot be made: {error}", path.display())))
}
