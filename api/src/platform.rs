//! All that handlers need. Made by the program, and by tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use commands::{Commands, Receipt};
use domain::ports::logs::Logs;
use metrics_exporter_prometheus::PrometheusHandle;
use projections::feed::Feed;
use sqlx::PgPool;
use url::Url;
use uuid::Uuid;

use crate::gate::Locks;
use crate::passwords::Passwords;
use crate::reply::Settled;
use crate::throttle::Throttle;

/// How long a command or a read waits for the query tables.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long the first answer to a command is kept for its repeats.
const KEEP_ANSWERS: TimeDelta = TimeDelta::hours(24);

/// The platform as handlers see it.
pub struct Platform {
    /// The database: query tables, log, sessions.
    pub pool: PgPool,
    /// The command bus.
    pub commands: Commands,
    /// Brings the query tables up to date.
    pub feed: Feed,
    /// Output of builds and servers.
    pub logs: Arc<dyn Logs>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Makes ids.
    pub new_id: fn() -> Uuid,
    /// Settings.
    pub settings: Settings,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) locks: Locks,
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where people reach this server. Https makes cookies `Secure`.
    pub public_url: Url,
    /// Name of this installation, told by `/api/health`.
    pub environment: String,
    /// Roots below which `file://` repositories may be read.
    pub allow_local_repos: Vec<PathBuf>,
    /// After so long without use a session ends.
    pub session_idle: TimeDelta,
    /// After so long a session ends, however much it is used.
    pub session_lifetime: TimeDelta,
    /// How long an invite can be accepted.
    pub invite_lifetime: TimeDelta,
}

impl Settings {
    /// Settings with the usual times and nothing allowed.
    pub fn new(public_url: Url, environment: String) -> Self {
        Self {
            public_url,
            environment,
            allow_local_repos: vec![],
            session_idle: TimeDelta::days(7),
            session_lifetime: TimeDelta::days(30),
            invite_lifetime: TimeDelta::days(7),
        }
    }

    /// Whether people come by https, so that cookies must not travel otherwise.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

impl Platform {
    /// A platform with the machine's clock and random ids in the order of time.
    pub fn new(
        pool: PgPool,
        commands: Commands,
        feed: Feed,
        logs: Arc<dyn Logs>,
        metrics: PrometheusHandle,
        settings: Settings,
    ) -> Self {
        Self {
            pool,
            commands,
            feed,
            logs,
            metrics,
            now: Utc::now,
            new_id: Uuid::now_v7,
            settings,
            passwords: Passwords::default(),
            throttle: Throttle::default(),
            locks: Locks::default(),
        }
    }

    /// Waits until the query tables know what a command has done, or for two seconds.
    pub async fn settled(&self, receipt: Receipt) -> Settled {
        let lagging = !self.feed.wait_for(receipt.position, PATIENCE).await;
        Settled { position: receipt.position, version: receipt.version, lagging }
    }

    /// Forgets sessions whose time is over and answers that nobody will ask for again. To be called now and
    /// then.
    pub async fn forget_old(&self) -> sqlx::Result<()> {
        let now = (self.now)();
        let sessions = commands::sessions::forget_over(&self.pool, now, self.settings.session_idle).await?;
        let answers = commands::answers::forget_before(&self.pool, now - KEEP_ANSWERS).await?;
        tracing::debug!(sessions, answers, "forgot what is over");
        Ok(())
    }
}
