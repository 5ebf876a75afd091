//! `replay-tool`: the operator's tool on the log. It reads the log and builds query tables; it writes no event.

mod database;
mod history;
mod read_models;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use projections::verify::VerifyError;

/// Events are made in one thread and dropped in another, millions of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Everything that can go wrong ends in one sentence for the operator.
type Outcome = Result<(), Failure>;

const EXIT_CODES: &str = "Exit codes:
  0  it is done; verify: every read model is what the log says
  1  it could not be done; the last line says why
  2  the command line is wrong
  3  verify: a read model is not what the log says; the last line names the first difference";

/// Looks at the log, and proves and repairs the query tables that are made of it.
#[derive(Parser)]
#[command(name = "replay-tool", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    place: Place,
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
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Builds read models anew beside the live ones and swaps them in; readers never see an empty table.
    Rebuild {
        /// Name of a read model.
        #[arg(default_value = "all")]
        name: String,
    },
    /// Builds read models anew at the live ones' position and compares row by row.
    Verify {
        /// Name of a read model.
        #[arg(default_value = "all")]
        name: String,
    },
    /// Shows the events of one aggregate.
    History {
        #[command(flatten)]
        stream: Stream,
        /// As JSON, an event a line.
        #[arg(long)]
        json: bool,
    },
    /// Shows the state of one aggregate as it was, as JSON.
    AsOf {
        #[command(flatten)]
        stream: Stream,
        /// When: a time (RFC 3339) or a position of the log.
        #[arg(long)]
        at: history::Moment,
    },
}

/// One aggregate.
#[derive(Args)]
struct Stream {
    /// Its kind: user, team, project, build, deployment, role, role_assignment.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Its id.
    id: String,
}

/// Why a command was not carried out.
#[derive(Debug)]
enum Failure {
    /// It could not be.
    Error(String),
    /// A read model is not what the log says.
    Different(String),
    /// Nobody reads on: `replay-tool history … | head`.
    Unread,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let (code, text) = match run(cli).await {
        Ok(()) | Err(Failure::Unread) => return ExitCode::SUCCESS,
        Err(Failure::Error(text)) => (1, text),
        Err(Failure::Different(text)) => (3, text),
    };
    #[expect(clippy::print_stderr, reason = "this is where a command line program says what is wrong")]
    {
        eprintln!("{text}");
    }
    ExitCode::from(code)
}

async fn run(cli: Cli) -> Outcome {
    let pool = database::connect(&cli.place).await?;
    match cli.command {
        Command::Status { json } => read_models::status(&pool, json).await,
        Command::Rebuild { name } => read_models::rebuild(&pool, &name).await,
        Command::Verify { name } => read_models::verify(&pool, &name).await,
        Command::History { stream, json } => history::show(&pool, &stream, json).await,
        Command::AsOf { stream, at } => history::as_of(&pool, &stream, at).await,
    }
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(format!("the database failed: {error}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Error(format!("the answer could not be written: {error}")),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Different { .. } => Self::Different(error.to_string()),
            other => Self::Error(chain(&other)),
        }
    }
}
