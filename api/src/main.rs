//! `mastra-admin`: the program. It wires every crate together, and is the only place that knows them all.

mod program;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use program::config::Config;
use program::keys::Keys;
use program::settings::Settings;

/// A self-hosted platform on which teams deploy and run Mastra servers.
#[derive(Parser)]
#[command(name = "mastra-admin", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    #[command(after_help = SECRETS)]
    Serve(Common),
    /// Bring the database to the present schema, and end
    #[command(after_help = SECRETS)]
    Migrate(Common),
    /// Show or exchange the master key
    #[command(subcommand)]
    Keys(Keys),
    /// Look whether everything that `serve` needs is there, and end
    #[command(after_help = SECRETS)]
    Check(Common),
}

/// What every command understands.
#[derive(clap::Args)]
struct Common {
    /// Settings file [default: mastra-admin.toml, when it is there]
    #[arg(long, env = "MASTRA_ADMIN_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

const SECRETS: &str = "\
Each option can be given as a flag, in the environment, or in the settings file (with underscores: data_dir), in \
this order of strength.

Secrets come from the environment alone:
  DATABASE_URL                  PostgreSQL to use instead of the embedded one
  CLICKHOUSE_URL                ClickHouse for telemetry, as http://HOST:8123/DATABASE [default: PostgreSQL]
  CLICKHOUSE_USER and CLICKHOUSE_PASSWORD
                                who asks there [default: what the URL says]
  MASTRA_ADMIN_MASTER_KEY       32 bytes in base64 or hex [default: master.key in the data directory, made once]
  MASTRA_ADMIN_MASTER_KEY_NEXT  the one that takes its place [default: master.key.next, when it is there]
  MASTRA_ADMIN_OWNER_EMAIL and MASTRA_ADMIN_OWNER_PASSWORD
                                the first user of an empty system [default: a setup link is printed]
  MASTRA_ADMIN_SMTP_PASSWORD    goes with --smtp-user
  MASTRA_ADMIN_AUTH_<NAME>_…    settings of a sign-in provider: ISSUER, CLIENT_ID, CLIENT_SECRET, … (docs/sign-in)";

fn main() -> ExitCode {
    // git starts this program as its ssh: it must not read any argument itself.
    if let Some(error) = providers::git::ssh::become_ssh() {
        return fail(&anyhow::Error::new(error).context("ssh could not be started"));
    }
    let arguments = Arguments::parse();
    let common = match &arguments.command {
        Command::Serve(common) | Command::Migrate(common) | Command::Check(common) => common,
        Command::Keys(keys) => keys.common(),
    };
    let config = match Config::read(common.settings.clone(), common.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    program::logging::start(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Serve(_) => program::serve::serve(config).await,
            Command::Migrate(_) => program::serve::migrate(config).await,
            Command::Check(_) => program::check::check(config).await,
            Command::Keys(keys) => keys.run(config).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the last words of a program that cannot go on")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("mastra-admin: {error:#}");
    ExitCode::FAILURE
}
