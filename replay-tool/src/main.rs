//! `replay-tool`: the operator's tool on the log. It reads the log and makes query tables anew; it can never write
//! an event.

mod history;
mod source;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use projections::rebuild::RebuildError;

/// Looks at the event log, makes query tables anew, and proves that they are right.
#[derive(Parser)]
#[command(name = "replay-tool", version, about, after_help = EXIT_CODES)]
struct Arguments {
    /// Directory of the embedded PostgreSQL's data, while its server runs; DATABASE_URL names another database
    #[arg(long, env = "MASTRA_ADMIN_DATA_DIR", default_value = "data", global = true)]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How far every query table and process is behind the log
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make query tables anew from the log, beside the live ones, and swap them in
    Rebuild {
        /// Name of a read model, or `all`
        #[arg(default_value = "all")]
        name: String,
    },
    /// Compare query tables row by row with a rebuild at the same position
    Verify {
        /// Name of a read model, or `all`
        #[arg(default_value = "all")]
        name: String,
    },
    /// Every event of one aggregate
    History {
        /// user, team, project, build, deployment, role, role_assignment
        aggregate: String,
        /// Its id
        id: String,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// The state of one aggregate at a time
    AsOf {
        /// user, team, project, build, deployment, role, role_assignment
        aggregate: String,
        /// Its id
        id: String,
        /// An RFC 3339 time, or a position of the log
        #[arg(long)]
        at: String,
    },
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 it could not be done; 2 the command line is wrong; 3 a query table differs from the log.";

/// What a command ended with.
enum Failure {
    /// It could not be done.
    Broken(String),
    /// A query table differs from the log.
    Different(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self::Broken(text)
    }
}

impl Failure {
    fn of(error: RebuildError) -> Self {
        match error {
            RebuildError::Different(difference) => Self::Different(difference.to_string()),
            other => other.into(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Broken(text)) => fail(&text, 1),
        Err(Failure::Different(text)) => fail(&text, 3),
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let pool = source::connect(&arguments.data_dir).await?;
    match arguments.command {
        Command::Status { json } => tables::status(&pool, json).await,
        Command::Rebuild { name } => tables::rebuild(&pool, &name).await,
        Command::Verify { name } => tables::verify(&pool, &name).await,
        Command::History { aggregate, id, json } => history::history(&pool, &aggregate, &id, json).await,
        Command::AsOf { aggregate, id, at } => history::as_of(&pool, &aggregate, &id, &at).await,
    }
}

#[expect(clippy::print_stderr, reason = "the last words of a program that cannot go on")]
fn fail(text: &str, code: u8) -> ExitCode {
    eprintln!("replay-tool: {text}");
    ExitCode::from(code)
}

/// Prints one line of an answer.
#[expect(clippy::print_stdout, reason = "answers are what the tool is for")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
