//! `mastra-admin serve`: everything wired, started in order, ended in reverse.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use api::auth::setup;
use api::limits::Limits;
use api::router::Router;
use api::{Platform, Settings};
use chrono::Utc;
use commands::sessions::Sessions;
use commands::token_uses::TokenUses;
use commands::{Appender, Commands, Context, Vault};
use domain::envelope::Actor;
use domain::ports::auth::Auth;
use domain::ports::email::Email;
use domain::ports::git::Git;
use domain::ports::runner::Runner;
use metrics_exporter_prometheus::PrometheusBuilder;
use processes::{Workers, World};
use projections::feed::Feed;
use projections::ledger::{KeyRing, Ledger, LedgerOptions};
use projections::past::Archive;
use projections::shred::ShredList;
use providers::artifacts::folder::FolderArtifacts;
use providers::email::console::ConsoleEmail;
use providers::email::smtp::{Security, SmtpConfig, SmtpEmail};
use providers::encryption::aes_256_gcm::Aes256Gcm;
use providers::encryption::master_key::MasterKey;
use providers::git::command::{GitCommand, GitConfig};
use providers::observability::postgres::PostgresLogs;
use providers::runner::app::toolchain::Toolchains;
use providers::runner::local::{LocalRunner, LocalRunnerConfig};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::{Config, SmtpSecurity};
use super::database::Database;

/// First of the users that teams' sandboxes run as, when the server is root.
const SANDBOX_USERS: u32 = 210_000;
/// How long requests and work may take to end when the server stops.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// From SIGTERM to SIGKILL of deployed servers when the platform stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Brings the database to the present schema.
pub(crate) async fn migrate(config: Config) -> anyhow::Result<()> {
    Database::open(&config).await?.close().await;
    Ok(())
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder().context("metrics cannot be kept")?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("the data directory {} cannot be made", config.data_dir.display()))?;
    let (auth, email) = (auth(&config)?, email(&config)?);
    // The port first: who cannot listen should not touch anything.
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}: is another server running there?", config.listen))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let database = Database::open(&config).await?;
    let pool = database.pool.clone();

    let vault = vault(&config, &pool).await?;
    let feed = feed(&pool).await?;
    let commands = Commands::new(pool.clone(), appender(&pool, &feed), Arc::new(vault));
    let (logs, git) = (PostgresLogs::start(pool.clone()), Arc::new(git(&config)?));
    let ledger = ledger(&config, &pool)?;
    let runner = Arc::new(runner(&config, git.clone()).await?);
    // What an earlier life has left running is ended before anything new begins.
    runner.sweep(&[]).await?;

    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let router = Router::start(pool.clone(), &feed, public_url.starts_with("https:"));
    let platform = Arc::new(Platform {
        pool: pool.clone(),
        commands: commands.clone(),
        feed: feed.clone(),
        archive: Archive::new(pool.clone()),
        logs: logs.clone(),
        runner: runner.clone(),
        git: git.clone(),
        router: router.clone(),
        auth,
        sessions: Sessions::new(pool.clone()),
        token_uses: TokenUses::new(pool.clone()),
        shred_list: ShredList::new(&config.data_dir),
        ledger_keys: KeyRing::new(&config.data_dir),
        throttle: Default::default(),
        limits: Limits::new(config.rates),
        fresh: Default::default(),
        under_way: Default::default(),
        metrics,
        now: Utc::now,
        settings: settings(&config, &public_url),
    });
    let world = World {
        pool,
        commands,
        feed: feed.clone(),
        runner: runner.clone(),
        git,
        logs: logs.clone(),
        traffic: router,
        email,
        shred_list: ShredList::new(&config.data_dir),
        now: Utc::now,
        public_url: public_url.clone(),
        start_deadline: config.start_deadline,
    };
    let (boot, stop) = (Uuid::now_v7(), CancellationToken::new());
    let workers = Workers::start(processes::all(), world.clone(), boot.to_string());
    let keeper = tokio::spawn(processes::keep_running(world, boot, stop.clone()));

    erase_again(&platform).await?;
    first_user(&platform, &config, &public_url).await?;
    announce(address);
    let ended = listen(listener, platform.clone(), database.crashed(), stop.clone()).await;

    // Every step is bounded: a server that was told to stop does.
    write_down(&platform).await;
    let _ = tokio::time::timeout(SHUTDOWN, workers.stop()).await;
    let _ = keeper.await;
    stop_servers(&platform, &*runner).await;
    close(&feed, &logs, &ledger, database).await;
    ended
}

/// Reads the log for every query table and process.
async fn feed(pool: &PgPool) -> anyhow::Result<Feed> {
    let consumers = projections::read_models().into_iter().chain(processes::consumers()).collect();
    Feed::start(pool.clone(), consumers).await.context("the query tables cannot be made")
}

/// Appends, and tells the query tables at once.
fn appender(pool: &PgPool, feed: &Feed) -> Appender {
    let wake = feed.clone();
    Appender::start(pool.clone(), Arc::new(move |_| wake.wake()))
}

/// What was only counted or noted so far.
async fn write_down(platform: &Platform) {
    let _ = tokio::time::timeout(SHUTDOWN, platform.commands.summarise_access(None)).await;
    let _ = tokio::time::timeout(SHUTDOWN, platform.token_uses.flush()).await;
}

/// Ends what writes to the database, the ledger last: its last checkpoint covers all that was appended.
async fn close(feed: &Feed, logs: &PostgresLogs, ledger: &Ledger, database: Database) {
    let _ = tokio::time::timeout(SHUTDOWN, feed.stop()).await;
    let _ = tokio::time::timeout(SHUTDOWN, logs.drain()).await;
    let _ = tokio::time::timeout(SHUTDOWN, ledger.stop()).await;
    database.close().await;
}

/// Forgets what is over, now and every hour.
async fn keep_house(platform: &Platform) -> Infallible {
    let mut hour = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hour.tick().await;
        if let Err(error) = platform.forget_old().await {
            tracing::warn!(%error, "what is over could not be forgotten: {error}");
        }
    }
}

/// Records what access was counted instead of recorded one by one, once its minute is over.
async fn count_access(platform: &Platform) -> Infallible {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        if let Err(error) = platform.commands.summarise_access(Some(Utc::now())).await {
            tracing::warn!(%error, "counted access was not recorded yet: {error}");
        }
    }
}

/// Writes down when tokens were last used, and forgets who has not asked for a while.
async fn note_uses(platform: &Platform) -> Infallible {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        platform.forget_idle();
        if let Err(error) = platform.token_uses.flush().await {
            tracing::warn!(%error, "uses of tokens were not written yet: {error}");
        }
    }
}

/// Ends every deployed server as it would want to be ended; the next start of the platform starts them again.
async fn stop_servers(platform: &Platform, runner: &dyn Runner) {
    match projections::deployments::all_running(&platform.pool).await {
        Ok(rows) => {
            let stops = rows.iter().map(|row| runner.stop(row.id, STOP_GRACE));
            futures_util::future::join_all(stops).await;
        }
        Err(error) => tracing::warn!(%error, "the running servers are not known: {error}"),
    }
    if let Err(error) = runner.sweep(&[]).await {
        tracing::warn!(%error, "a server may have been left: {error}");
    }
}

/// Answers requests until a signal comes or the database is gone.
async fn listen(
    listener: TcpListener,
    platform: Arc<Platform>,
    crashed: impl Future<Output = anyhow::Error>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = api::app(platform.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let stopped = stop.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { stopped.cancelled().await });
    let server = tokio::spawn(server.into_future());
    let ended = tokio::select! {
        () = signal() => Ok(()),
        error = crashed => Err(error),
        never = keep_house(&platform) => match never {},
        never = count_access(&platform) => match never {},
        never = note_uses(&platform) => match never {},
    };
    stop.cancel();
    // Streams that never end are cut.
    let _ = tokio::time::timeout(Duration::from_secs(5), server).await;
    ended
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopping");
}

/// Opens the key vault; another master key than the one it was made with is refused here.
async fn vault(config: &Config, pool: &PgPool) -> anyhow::Result<Vault> {
    let file = config.data_dir.join("master.key");
    let key = MasterKey::from_env_or_file(config.secrets.master_key.as_ref(), &file)?;
    let vault = Vault::open(pool.clone(), Arc::new(Aes256Gcm::new(&key)), Utc::now());
    vault.await.context("the key vault does not open")
}

/// Starts the ledger with its anchors.
fn ledger(config: &Config, pool: &PgPool) -> anyhow::Result<Ledger> {
    let token = config.secrets.anchor_token.as_ref();
    let anchors = config.ledger_anchors.iter().filter(|word| !word.is_empty());
    let anchors = anchors.map(|word| providers::anchor::open(word, &config.data_dir, token));
    let anchors = anchors.collect::<Result<_, _>>().context("MASTRA_ADMIN_LEDGER_ANCHORS")?;
    let options = LedgerOptions {
        batch: config.ledger_batch,
        anchor: config.ledger_anchor,
        ..LedgerOptions::default()
    };
    Ok(Ledger::start(pool.clone(), KeyRing::new(&config.data_dir), anchors, options, Utc::now))
}

/// Who takes mail; an SMTP server is not asked before there is some.
pub(super) fn email(config: &Config) -> anyhow::Result<Arc<dyn Email>> {
    let Some(smtp) = config.smtp.clone() else {
        return Ok(Arc::new(ConsoleEmail::new(config.mail_outbox.clone())));
    };
    let email = SmtpEmail::try_new(SmtpConfig {
        host: smtp.host,
        port: smtp.port,
        security: match smtp.security {
            SmtpSecurity::StartTls => Security::StartTls,
            SmtpSecurity::Tls => Security::Tls,
        },
        from: smtp.from,
        login: smtp.login,
        ca_file: smtp.ca_file,
    });
    Ok(Arc::new(email.context("mail (MASTRA_ADMIN_SMTP_…)")?))
}

/// Sign-in providers; none is asked before somebody signs in.
fn auth(config: &Config) -> anyhow::Result<Vec<Arc<dyn Auth>>> {
    let opened = providers::auth::open(&config.auth_providers, config.secrets.auth.0.clone());
    opened.context("sign-in providers (MASTRA_ADMIN_AUTH_…)")
}

fn git(config: &Config) -> anyhow::Result<GitCommand> {
    let git = program("git").context("git is missing: apt-get install git")?;
    Ok(GitCommand::new(GitConfig {
        git,
        local_roots: config.allow_local_repos.clone(),
        timeout: Duration::from_secs(300),
        max_checkout_bytes: 2 << 30,
    }))
}

async fn runner(config: &Config, git: Arc<dyn Git>) -> anyhow::Result<LocalRunner> {
    let bwrap = program("bwrap").context("bubblewrap is missing: apt-get install bubblewrap")?;
    let artifacts =
        FolderArtifacts::open(config.data_dir.join("artifacts")).await.context("artifacts cannot be kept")?;
    let runner = LocalRunner::open(LocalRunnerConfig {
        data_dir: config.data_dir.clone(),
        toolchains: Toolchains::new(config.toolchains_dir.clone(), config.npm_registry.clone()),
        git,
        artifacts: Arc::new(artifacts),
        bwrap,
        uid_base: SANDBOX_USERS,
    });
    Ok(runner.await?)
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| Path::new(&folder).join(name)).find(|file| file.is_file())
}

/// A database that was restored does not bring back who was erased since its backup.
async fn erase_again(platform: &Platform) -> anyhow::Result<()> {
    let erased = platform.erase_again().await;
    erased.map_err(|error| anyhow!("who was erased is not erased again: {error:?}"))
}

fn settings(config: &Config, public_url: &str) -> Settings {
    Settings {
        public_url: public_url.to_owned(),
        environment: config.environment.clone(),
        local_roots: config.allow_local_repos.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
    }
}

/// Makes the first user when the operator names one, or offers to make one.
#[expect(clippy::print_stdout, reason = "the setup link is for who started the server")]
async fn first_user(platform: &Platform, config: &Config, public_url: &str) -> anyhow::Result<()> {
    let failed = |error: api::ApiError| anyhow!("the first user cannot be made: {error:?}");
    let Some((email, password)) = &config.secrets.owner else {
        if let Some(token) = setup::offer(platform).await.map_err(failed)? {
            println!(
                "setup: make the first user with\n  curl -X POST {public_url}/api/v1/auth/setup \
                 -H 'content-type: application/json' \\\n    -d '{{\"setupToken\":\"{token}\",\
                 \"email\":\"you@example.org\",\"password\":\"…\",\"firstName\":\"…\",\"lastName\":\"…\"}}'"
            );
        }
        return Ok(());
    };
    platform.feed.wait_for(projections::log::head(&platform.pool).await?, Duration::from_secs(60)).await;
    if projections::users::any(&platform.pool).await? {
        return Ok(());
    }
    let password = password.expose_str().context("MASTRA_ADMIN_OWNER_PASSWORD is no text")?.to_owned();
    api::auth::password::check("MASTRA_ADMIN_OWNER_PASSWORD", &password).map_err(failed)?;
    let new = setup::NewUser {
        email: email.parse().context("MASTRA_ADMIN_OWNER_EMAIL")?,
        password,
        first_name: "".parse().expect("a name may be empty"),
        last_name: "".parse().expect("a name may be empty"),
    };
    let context = Context::bare(Actor::Operator("setup".to_owned()), Uuid::now_v7().to_string(), Utc::now());
    let receipt = setup::register(platform, platform.new_id(), new, &context).await.map_err(failed)?;
    platform.feed.wait_for(receipt.position, Duration::from_secs(10)).await;
    Ok(())
}

/// Tells who waits for it that the server is ready.
#[expect(clippy::print_stdout, reason = "the one line that scripts wait for")]
fn announce(address: SocketAddr) {
    println!("listening on http://{address}");
}
