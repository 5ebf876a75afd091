//! `replay-tool`: the operator's tool on the log. It reads the log, builds query tables and puts right what has
//! stopped; the only events it can write are those that say what it did.
//!
//! A verb is one file in `verbs/`, one variant of [`Command`] and one arm of [`run`].

mod actor;
mod database;
mod failure;
mod output;
mod progress;
mod tool;
mod transfer;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use domain::envelope::Actor;

use crate::failure::Outcome;
use crate::tool::Tool;

/// Events are made in one thread and dropped in another, millions of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "Exit codes:
  0  it is done; verify: every read model is what the log says
  1  it could not be done; the last line says why
  2  the command line is wrong
  3  verify: a read model is not what the log says; doctor: the log is not as it must be;
     ledger verify, ledger check: the log or the proof is not what was signed; the last line names the first
     difference
  4  verify: every read model is what the log says but for events that are parked or skipped;
     dlq retry: an event is refused again
  130, 137, 143  it was interrupted, and nothing says that it is done";

/// Looks at the log, and proves and repairs what is made of it.
#[derive(Parser)]
#[command(name = "replay-tool", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    place: Place,
    /// Answers as JSON: an object a line.
    #[arg(long, global = true)]
    json: bool,
    /// Who you are, for the events that say what was done; without it, the user of the operating system.
    #[arg(long, global = true, value_name = "NAME", value_parser = actor::parse)]
    actor: Option<Actor>,
    #[command(subcommand)]
    command: Command,
}

/// Where the log is.
#[derive(Args)]
struct Place {
    /// The PostgreSQL server; without it, the embedded one of the data dir, which must be running. Others see what
    /// stands on a command line: a URL with a password belongs into the environment.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<String>,
    /// The server's data dir.
    #[arg(long, env = "MASTRA_ADMIN_DATA_DIR", default_value = "./data", global = true)]
    data_dir: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Shows how far every consumer of the log is.
    Status(verbs::status::Status),
    /// Builds read models anew beside the live ones and swaps them in; readers never see an empty table.
    Rebuild(verbs::rebuild::Rebuild),
    /// Takes up the tables that the last rebuild replaced: brings them up to date and swaps them back in.
    Rollback(verbs::rollback::Rollback),
    /// Removes the tables that rebuilds and rollbacks have kept.
    Gc(verbs::gc::Gc),
    /// Builds read models anew at the live ones' position and compares row by row.
    Verify(verbs::verify::Verify),
    /// Looks whether the log is whole and guarded, and agrees with its names, receipts and checkpoints.
    Doctor(verbs::doctor::Doctor),
    /// Shows and resolves the events that consumers could not take in.
    Dlq(verbs::dlq::Dlq),
    /// Pauses a consumer of the log, lets it go on, or sets it back.
    Consumer(verbs::consumer::Consumer),
    /// Shows the events of one aggregate.
    History(verbs::history::History),
    /// Shows the state of one aggregate as it was, as JSON.
    AsOf(verbs::history::AsOf),
    /// Shows what changed in one aggregate between two moments, and the events that changed it.
    Diff(verbs::diff::Diff),
    /// Writes the log to a file, or to standard output: every event exactly as it is stored.
    Export(verbs::transfer::Export),
    /// Reads the log of a file into a database whose log is empty; all of it or nothing.
    Import(verbs::transfer::Import),
    /// Proves that nobody has changed the log.
    #[command(subcommand)]
    Ledger(verbs::ledger::Ledger),
    /// Erases a person: destroys the keys of all that is personal.
    Shred(verbs::shred::Shred),
    /// Puts right what is kept of deployed servers' telemetry.
    Telemetry(verbs::telemetry::Telemetry),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

async fn run(cli: Cli) -> Outcome {
    let tool = Tool::new(cli.place, cli.json, cli.actor);
    match cli.command {
        Command::Status(verb) => verb.run(&tool).await,
        Command::Rebuild(verb) => verb.run(&tool).await,
        Command::Rollback(verb) => verb.run(&tool).await,
        Command::Gc(verb) => verb.run(&tool).await,
        Command::Doctor(verb) => verb.run(&tool).await,
        Command::Dlq(verb) => verb.run(&tool).await,
        Command::Consumer(verb) => verb.run(&tool).await,
        Command::Verify(verb) => verb.run(&tool).await,
        Command::History(verb) => verb.run(&tool).await,
        Command::AsOf(verb) => verb.run(&tool).await,
        Command::Diff(verb) => verb.run(&tool).await,
        Command::Export(verb) => verb.run(&tool).await,
        Command::Import(verb) => verb.run(&tool).await,
        Command::Ledger(verb) => verb.run(&tool).await,
        Command::Shred(verb) => verb.run(&tool).await,
        Command::Telemetry(verb) => verb.run(&tool).await,
    }
}
