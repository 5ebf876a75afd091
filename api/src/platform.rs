//! What every handler needs, put together once.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use commands::access_codes;
use commands::answers::Answers;
use commands::installations;
use commands::sessions::Sessions;
use commands::telemetry_usage;
use commands::token_uses::TokenUses;
use commands::{CommandError, Commands, Context, Receipt};
use domain::envelope::Actor;
use domain::ports::auth::Auth;
use domain::ports::git::Git;
use domain::ports::git_host::GitHost;
use domain::ports::logs::Logs;
use domain::ports::outbound::Outbound;
use domain::ports::push_hooks::PushHooks;
use domain::ports::runner::Runner;
use domain::ports::telemetry::{Signals, Telemetry};
use domain::user::UserCommand;
use metrics_exporter_prometheus::PrometheusHandle;
use projections::feed::Feed;
use projections::inbox;
use projections::ledger::KeyRing;
use projections::outbox;
use projections::past::Archive;
use projections::shred::{self, ShredList, Shredded};
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::auth::throttle::Throttle;
use crate::cli::UploadRoom;
use crate::error::ApiError;
use crate::gate::{Fresh, UnderWay};
use crate::limits::Limits;
use crate::router::Router;
use crate::telemetry::Intake;

/// How long a command or a read waits for the query tables.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How long the first answer to a command is kept for its repeats. After that its receipt answers them.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// How long one can see what came of a delivery, in or out; hosts send again for a few days at most.
const DELIVERIES_KEPT: TimeDelta = TimeDelta::days(30);

/// The platform as handlers see it.
pub struct Platform {
    /// The database.
    pub pool: PgPool,
    /// The command bus.
    pub commands: Commands,
    /// The query tables' progress.
    pub feed: Feed,
    /// The query tables as they were.
    pub archive: Archive,
    /// Output of builds and servers.
    pub logs: Arc<dyn Logs>,
    /// What is uploaded to be built.
    pub uploads: UploadRoom,
    /// Spans of servers.
    pub telemetry: Arc<dyn Telemetry>,
    /// Lines, measurements and scores of servers.
    pub signals: Arc<dyn Signals>,
    /// How much of what senders say is in memory.
    pub intake: Intake,
    /// What projects keep has changed: there may be something to forget.
    pub rules_changed: Notify,
    /// Answers for the health of servers.
    pub runner: Arc<dyn Runner>,
    /// Knows which repositories are allowed.
    pub git: Arc<dyn Git>,
    /// Git hosts that tell of pushes.
    pub hosts: Vec<Arc<dyn GitHost>>,
    /// Reads what other git hosts tell projects.
    pub push_hooks: Arc<dyn PushHooks>,
    /// Tells others what happens.
    pub outbound: Arc<dyn Outbound>,
    /// Sends requests to deployed servers.
    pub router: Arc<Router>,
    /// Sign-in providers beside e-mail and password.
    pub auth: Vec<Arc<dyn Auth>>,
    /// Sign-ins.
    pub sessions: Sessions,
    /// When API tokens were last used.
    pub token_uses: TokenUses,
    /// Who was erased: outside the database, so that no backup brings anybody back.
    pub shred_list: ShredList,
    /// The public keys of the ledger.
    pub ledger_keys: KeyRing,
    /// Slows down who guesses passwords.
    pub throttle: Throttle,
    /// How often somebody may ask.
    pub limits: Limits,
    /// Credentials that were looked up a moment ago.
    pub fresh: Fresh,
    /// Commands with an idempotency key that are under way.
    pub under_way: UnderWay,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// What the operator has set.
    pub settings: Settings,
}

/// What the operator has set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where people reach this server, without a slash at the end.
    pub public_url: String,
    /// Name of this installation.
    pub environment: String,
    /// What data keys are wrapped with: `none` is for trying things out.
    pub encryption: &'static str,
    /// Roots below which `file://` repositories may be read.
    pub local_roots: Vec<std::path::PathBuf>,
    /// How many builds run at a time.
    pub builds: projections::queue::Limits,
    /// Proxies that are believed about who asks.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

impl Platform {
    /// A new id; ids sort by the time they were made.
    pub fn new_id<T: From<Uuid>>(&self) -> T {
        Uuid::now_v7().into()
    }

    /// Waits until the query tables know what a command did; `false` when they lag.
    pub async fn caught_up(&self, receipt: &Receipt) -> bool {
        self.feed.wait_for(receipt.position, PATIENCE).await
    }

    /// Forgets who has not asked for a moment. To be called every few seconds.
    pub fn forget_idle(&self) {
        self.limits.forget_idle();
        self.fresh.forget();
    }

    /// Forgets sessions whose time is over and answers that nobody will ask for again. To be called now and then.
    pub async fn forget_old(&self) -> sqlx::Result<()> {
        let now = (self.now)();
        let sessions = self.sessions.forget_over(now).await?;
        let answers =
            Answers::new(self.pool.clone(), self.commands.vault()).forget_before(now - KEPT).await?;
        // A code is over long before.
        access_codes::forget_before(&self.pool, now - KEPT).await?;
        installations::forget_over(&self.pool, now).await?;
        telemetry_usage::forget_before(&self.pool, (now - DELIVERIES_KEPT).date_naive()).await?;
        inbox::forget_before(&self.pool, now - DELIVERIES_KEPT).await?;
        outbox::forget_before(&self.pool, now - DELIVERIES_KEPT).await?;
        tracing::debug!(sessions, answers, "forgot what is over");
        Ok(())
    }

    /// Erases anew everybody whom a restored backup has brought back. To be called before anybody is served.
    pub async fn erase_again(&self) -> Result<(), ApiError> {
        for Shredded { user, .. } in self.shred_list.read().map_err(|error| ApiError::internal(&error))? {
            if shred::is_erased(&self.pool, user).await? {
                continue;
            }
            tracing::warn!(user = %user, "user {user} was erased before this database was restored, and is again");
            let destroyed = shred::erase(&self.pool, user).await?;
            self.commands.vault().forget(&destroyed);
            let context = Context::bare(Actor::System, Uuid::now_v7().to_string(), (self.now)());
            match self.commands.user(user, UserCommand::EraseUser, &context).await {
                // It is so old that there was nobody yet.
                Ok(_) | Err(CommandError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether browsers reach the server over TLS.
    pub fn is_https(&self) -> bool {
        self.settings.public_url.starts_with("https:")
    }
}
