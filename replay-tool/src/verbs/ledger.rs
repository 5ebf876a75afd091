//! `ledger …`: proves that nobody has changed the log.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};

use chrono::Utc;
use clap::{Args, Subcommand};
use domain::operation::OperationEvent;
use projections::ledger::{self, KeyRing, LedgerError, Proof, PublicKey, Report, Signed, read_public};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::failure::{Failure, Outcome};
use crate::output;
use crate::tool::Tool;

/// Verbs of the ledger.
#[derive(Subcommand)]
pub(crate) enum Ledger {
    /// Reads the whole log and compares it with what was signed; names every position that differs.
    Verify {
        /// What a witness outside the database has seen: the file of an anchor, a checkpoint, or a directory of
        /// checkpoints as a bucket has them.
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
        #[command(flatten)]
        trust: Trust,
    },
    /// Writes the proof that an event stands in the log.
    Prove {
        /// Its id, or its position.
        event: String,
        /// Where to [default: standard output].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Checks a proof. Needs no database.
    Check {
        /// The file that `prove` or the API has written; `-` is standard input.
        proof: PathBuf,
        #[command(flatten)]
        trust: Trust,
    },
    /// Signs a checkpoint of the log as it is now, and shows it.
    Checkpoint,
    /// Shows the public keys, the oldest first.
    Key,
    /// Signs with a new key from now on. The old one names it and is gone.
    RotateKey {
        /// The old key is lost: only who is given the new public key trusts what it signs.
        #[arg(long)]
        lost: bool,
    },
}

/// Whom to trust.
#[derive(Args)]
pub(crate) struct Trust {
    /// File of the public keys, one a line [default: ledger.pub in the data dir].
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

impl Trust {
    fn keys(&self, tool: &Tool) -> Result<Vec<PublicKey>, Failure> {
        let file = self.public_key.clone().unwrap_or_else(|| KeyRing::new(tool.data_dir()).public_file());
        read_public(&file).map_err(|error| Failure::Error(format!("{error}; name one with --public-key")))
    }
}

impl Ledger {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let keys = KeyRing::new(tool.data_dir());
        match self {
            Self::Check { proof, trust } => check(tool, &proof, &trust.keys(tool)?),
            Self::Key => {
                let all = keys.public().map_err(LedgerError::from)?;
                all.iter().try_for_each(|key| tool.say(&key.to_string(), &json!({ "key": key.to_string() })))
            }
            Self::Verify { anchor, trust } => {
                let (trusted, anchor) = (trust.keys(tool)?, anchor.as_deref().map(open_anchor).transpose()?);
                tell(tool, &ledger::verify(tool.pool().await?, &trusted, anchor).await?)
            }
            Self::Prove { event, output } => prove(tool.pool().await?, &event, output.as_deref()).await,
            Self::Checkpoint => {
                let pool = tool.pool().await?;
                let mut signed = ledger::close(pool, &keys, true, Utc::now()).await?;
                while let Some(more) = ledger::close(pool, &keys, false, Utc::now()).await? {
                    signed = Some(more);
                }
                let Some(Signed { checkpoint, note, .. }) = signed else { return Ok(()) };
                let (number, size) = (checkpoint.number, checkpoint.size);
                tool.record(&OperationEvent::LedgerCheckpointSigned { number, size }).await?;
                show(tool, &note)
            }
            Self::RotateKey { lost } => {
                let signed = ledger::rotate(tool.pool().await?, &keys, lost, Utc::now()).await?;
                let number = signed.checkpoint.number;
                tool.record(&OperationEvent::LedgerKeyRotated { number, lost }).await?;
                show(tool, &signed.note)
            }
        }
    }
}

fn show(tool: &Tool, note: &str) -> Outcome {
    tool.say(note.trim_end(), &json!({ "checkpoint": note }))
}

/// The lines of an anchor's file. A single checkpoint as it was published is one too, and so is a directory of them,
/// whose names are in their order.
fn open_anchor(path: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    let failed = |error| Failure::Error(format!("{} cannot be read: {error}", path.display()));
    if path.is_dir() {
        let files =
            std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
        let mut files: Vec<PathBuf> = files.into_iter().map(|file| file.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
        files.sort();
        if files.is_empty() {
            return Err(Failure::Error(format!("{} has no checkpoints (*.txt)", path.display())));
        }
        let mut lines = String::new();
        for file in files {
            let note = std::fs::read_to_string(file).map_err(failed)?;
            lines.push_str(&format!("{}\n", json!({ "checkpoint": note })));
        }
        return Ok(Box::new(Cursor::new(lines)));
    }
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    if reader.fill_buf().map_err(failed)?.first().is_some_and(|first| *first != b'{') {
        let note = std::io::read_to_string(reader).map_err(failed)?;
        return Ok(Box::new(Cursor::new(json!({ "checkpoint": note }).to_string())));
    }
    Ok(Box::new(reader))
}

fn tell(tool: &Tool, report: &Report) -> Outcome {
    let Report { events, covered, checkpoints, anchored, findings, found } = report;
    if tool.json {
        output::line(json!({ "ok": *found == 0, "report": report }))?;
    } else if *found == 0 {
        let waiting = events - covered;
        output::line(format!(
            "the log is what was signed: {events} events, {checkpoints} checkpoints, {anchored} of them \
             witnessed; {waiting} events wait for a checkpoint"
        ))?;
    } else {
        findings.iter().try_for_each(output::line)?;
    }
    let Some(first) = findings.first() else { return Ok(()) };
    let more = if *found > 1 { format!(" ({found} findings)") } else { String::new() };
    Err(Failure::Different(format!("the log is not what was signed: {first}{more}")))
}

async fn prove(pool: &PgPool, event: &str, output: Option<&Path>) -> Outcome {
    let position = match (event.parse::<i64>(), event.parse::<Uuid>()) {
        (Ok(position), _) => position,
        (_, Ok(id)) => {
            let found = projections::log::find(pool, id.into()).await?;
            found.ok_or_else(|| Failure::Error(format!("the log knows no event {id}")))?.position
        }
        _ => return Err(Failure::Error(format!("{event:?} is neither an event's id nor a position"))),
    };
    let proof = ledger::prove(&mut *pool.acquire().await?, position).await?;
    let proof = proof.ok_or_else(|| {
        Failure::Error(format!(
            "no checkpoint covers position {position} yet; `replay-tool ledger checkpoint` makes one"
        ))
    })?;
    let text = serde_json::to_string_pretty(&proof).map_err(|error| Failure::Error(error.to_string()))?;
    match output {
        Some(path) => Ok(std::fs::write(path, text + "\n")?),
        None => output::line(text),
    }
}

fn check(tool: &Tool, path: &Path, trusted: &[PublicKey]) -> Outcome {
    let read = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = read.map_err(|error| Failure::Error(format!("{} cannot be read: {error}", path.display())))?;
    let proof: Proof = serde_json::from_str(&text)
        .map_err(|error| Failure::Different(format!("{} is no proof: {error}", path.display())))?;
    let proven = proof.check(trusted).map_err(|error| Failure::Different(error.to_string()))?;
    let ledger::Proven { position, event_id, event_type, size, at, ledger } = &proven;
    let words = format!(
        "proven: {event_type} {event_id} stands at position {position} of {ledger}, which had {size} events \
         at {}",
        at.format("%FT%TZ")
    );
    tool.say(&words, &json!({ "ok": true, "proven": proven }))
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Error(error.to_string())
    }
}
