//! `mastra-admin serve`: everything wired, started in order, ended in reverse.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use api::auth::setup;
use api::limits::Limits;
use api::router::{Hosts, Router};
use api::{Platform, Settings};
use axum::serve::ListenerExt;
use chrono::Utc;
use commands::sessions::Sessions;
use commands::token_uses::TokenUses;
use commands::{Appender, Commands, Context};
use domain::envelope::Actor;
use domain::ports::artifacts::Artifacts;
use domain::ports::auth::Auth;
use domain::ports::email::Email;
use metrics_exporter_prometheus::PrometheusBuilder;
use processes::{BuildSettings, Workers, World};
use projections::feed::Feed;
use projections::ledger::{KeyRing, Ledger, LedgerOptions};
use projections::past::Archive;
use projections::shred::ShredList;
use providers::email::console::ConsoleEmail;
use providers::email::smtp::{Security, SmtpConfig, SmtpEmail};
use providers::git::hooks::AnyHost;
use providers::observability::postgres::PostgresLogs;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::artifacts;
use super::config::{Config, SmtpSecurity};
use super::database::Database;
use super::github;
use super::keys;
use super::outbound;
use super::runner::{runner, stop_servers, sweep};
use super::telemetry::{self, Former};
use super::world::world;

/// How long requests and work may take to end when the server stops.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// Brings the database, and ClickHouse where there is one, to the present schema.
pub(crate) async fn migrate(config: Config) -> anyhow::Result<()> {
    Database::open(&config).await?.close().await;
    telemetry::migrate(&config).await
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder().context("metrics cannot be kept")?;
    make_data_dir(&config)?;
    let (auth, email, outbound) = (auth(&config)?, email(&config)?, outbound::open(&config)?);
    let (listener, address) = bind(config.listen).await?;
    let database = Database::open(&config).await?;
    let pool = database.pool.clone();

    let (vault, feed) = (keys::vault(&config, &pool).await?, feed(&pool, config.builds).await?);
    let commands = Commands::new(pool.clone(), appender(&pool, &feed), Arc::new(vault));
    let (logs, git) = (PostgresLogs::start(pool.clone()), Arc::new(github::git(&config)?));
    let (hosts, ledger) = (github::hosts(&config)?, ledger(&config, &pool)?);
    let (artifacts, uploads) = (artifacts::open(&config).await?, artifacts::open_uploads(&config).await?);
    let runner = runner(&config, git.clone(), (uploads.clone(), artifacts.clone())).await?;
    sweep(&runner, &pool, &feed).await?;

    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let router = router(&config, &pool, &feed, &public_url)?;
    let stores = telemetry::open(&config, &pool).await?;
    let platform = Arc::new(Platform {
        pool: pool.clone(),
        commands,
        feed: feed.clone(),
        archive: Archive::new(pool.clone()),
        logs: logs.clone(),
        uploads: artifacts::upload_room(&config, &pool, uploads.clone())?,
        telemetry: stores.spans,
        signals: stores.signals,
        intake: Default::default(),
        rules_changed: Default::default(),
        runner: runner.clone(),
        git,
        hosts,
        push_hooks: Arc::new(AnyHost),
        outbound,
        router,
        auth,
        sessions: Sessions::new(pool.clone()),
        token_uses: TokenUses::new(pool),
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
    let world = world(&platform, &config, (artifacts, email))?;
    let (boot, stop) = (Uuid::now_v7(), CancellationToken::new());
    let workers = Workers::start(processes::all(config.builds), world.clone(), boot.to_string());
    let keeper = tokio::spawn(reconcile(world, boot, (&config, uploads), stop.clone()));

    people(&platform, &config, &public_url).await?;
    announce(address);
    let serving = (platform.clone(), stores.former.as_ref());
    let ended = listen(listener, serving, database.crashed(), stop.clone()).await;

    wind_up(&platform, workers, keeper, &*runner).await;
    close(&feed, &logs, &ledger, database).await;
    ended
}

fn make_data_dir(config: &Config) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("the data directory {} cannot be made", config.data_dir.display()))
}

/// Listens; who cannot does not touch anything.
async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {address}: is another server running there?"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    Ok((listener, address))
}

/// What should run, runs; what nobody asks for, sleeps; what nobody can need, goes.
fn reconcile(
    world: World,
    boot: Uuid,
    (config, uploads): (&Config, Arc<dyn Artifacts>),
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let sleeps = processes::sleep_idle(world.clone(), config.sleep_after, stop.clone());
    let pruning = processes::prune_artifacts(world.clone(), config.retention, stop.clone());
    let forgetting = processes::forget_uploads(world.clone(), uploads, stop.clone());
    let finding = processes::find_missed_pushes(world.clone(), stop.clone());
    let running = processes::keep_running(world, boot, stop);
    async move {
        tokio::join!(running, sleeps, pruning, forgetting, finding);
    }
}

/// Reads the log for every query table and process.
async fn feed(pool: &PgPool, builds: BuildSettings) -> anyhow::Result<Feed> {
    let consumers = projections::read_models().into_iter().chain(processes::consumers(builds)).collect();
    Feed::start(pool.clone(), consumers).await.context("the query tables cannot be made")
}

/// Appends, and tells the query tables at once.
fn appender(pool: &PgPool, feed: &Feed) -> Appender {
    let wake = feed.clone();
    Appender::start(pool.clone(), Arc::new(move |_| wake.wake()))
}

/// Writes down what is not written yet, ends what it works on and what it runs. Every step is bounded: a server that was told to stop does.
async fn wind_up(
    platform: &Platform,
    workers: Workers,
    keeper: JoinHandle<()>,
    runner: &dyn domain::ports::runner::Runner,
) {
    write_down(platform).await;
    let _ = tokio::time::timeout(SHUTDOWN, workers.stop()).await;
    let _ = keeper.await;
    stop_servers(platform, runner).await;
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

/// Forgets what is over, now, every hour, and when somebody keeps less.
async fn keep_house(platform: &Platform, former: Option<&Former>) -> Infallible {
    let mut hour = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            _ = hour.tick() => {}
            () = platform.rules_changed.notified() => {}
        }
        telemetry::forget(platform, former).await;
        if let Err(error) = platform.telemetry.keep_house(Utc::now()).await {
            tracing::warn!(%error, "spans that are over could not be dropped: {error}");
        }
        if let Err(error) = platform.signals.keep_house(Utc::now()).await {
            tracing::warn!(%error, "signals that are over could not be dropped: {error}");
        }
        if let Some(former) = former
            && let Err(error) = former.keep_house(Utc::now()).await
        {
            tracing::warn!(%error, "telemetry of before could not be dropped from PostgreSQL: {error}");
        }
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

/// Answers requests until a signal comes or the database is gone.
async fn listen(
    listener: TcpListener,
    (platform, former): (Arc<Platform>, Option<&Former>),
    crashed: impl Future<Output = anyhow::Error>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = api::app(platform.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let stopped = stop.clone();
    // An answer is whole: one that is held until the last is acknowledged (Nagle) comes up to 40 ms later.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays slow: {error}");
        }
    });
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { stopped.cancelled().await });
    let server = tokio::spawn(server.into_future());
    let ended = tokio::select! {
        () = signal() => Ok(()),
        error = crashed => Err(error),
        never = keep_house(&platform, former) => match never {},
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

/// Starts the ledger with its anchors.
fn ledger(config: &Config, pool: &PgPool) -> anyhow::Result<Ledger> {
    let anchors = config.ledger_anchors.iter().filter(|word| !word.is_empty());
    let anchors =
        anchors.map(|word| providers::anchor::open(word, &config.data_dir, &config.secrets.anchors));
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

/// The router, with a host form when the operator gave it a domain.
fn router(config: &Config, pool: &PgPool, feed: &Feed, public_url: &str) -> anyhow::Result<Arc<Router>> {
    let hosts = config.base_domain.as_ref().map(|base| Hosts::try_new(base, public_url, config.path_form));
    let hosts = hosts.transpose().context("MASTRA_ADMIN_BASE_DOMAIN")?;
    Ok(Router::start(pool.clone(), feed, public_url.starts_with("https:"), hosts, config.router))
}

/// Who was erased stays so, and somebody is there.
async fn people(platform: &Platform, config: &Config, public_url: &str) -> anyhow::Result<()> {
    erase_again(platform).await?;
    first_user(platform, config, public_url).await
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
        encryption: config.encryption.name(),
        local_roots: config.allow_local_repos.clone(),
        builds: config.builds.limits,
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
