//! Where telemetry goes: ClickHouse when the operator names one, PostgreSQL otherwise.

use std::sync::Arc;

use anyhow::Context as _;
use api::Platform;
use chrono::{DateTime, Days, NaiveDate, Utc};
use domain::ports::telemetry::{Keeping, Signals, Telemetry, TelemetryError, Tenant};
use providers::observability::clickhouse::{ClickHouseStore, Target};
use providers::observability::postgres_signals::PostgresSignals;
use providers::observability::postgres_spans::PostgresSpans;
use providers::observability::spool::Spooled;
use sqlx::PgPool;

use super::config::Config;

/// Where spans go, and all other signals.
pub(super) struct Stores {
    pub(super) spans: Arc<dyn Telemetry>,
    pub(super) signals: Arc<dyn Signals>,
    /// PostgreSQL, where telemetry went before it went elsewhere.
    pub(super) former: Option<Former>,
}

/// A store that gets nothing any more.
pub(super) struct Former {
    spans: PostgresSpans,
    signals: PostgresSignals,
}

impl Former {
    /// What it has goes when its time is over.
    pub(super) async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        self.spans.keep_house(now).await?;
        self.signals.keep_house(now).await
    }

    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        Ok(self.spans.forget(tenant, before).await? + self.signals.forget(tenant, before).await?)
    }
}

/// Drops what projects keep for fewer days than the installation, and all of projects that were deleted.
pub(super) async fn forget(platform: &Platform, former: Option<&Former>) {
    let projects = match forgetful(platform).await {
        Ok(projects) => projects,
        Err(error) => return tracing::warn!(%error, "what projects keep is not known: {error}"),
    };
    for (tenant, before) in projects {
        let project = tenant.project;
        let forget = async {
            let mut gone = platform.telemetry.forget(tenant, before).await?;
            gone += platform.signals.forget(tenant, before).await?;
            if let Some(former) = former {
                gone += former.forget(tenant, before).await?;
            }
            Ok::<_, TelemetryError>(gone)
        };
        match forget.await {
            Ok(0) => {}
            Ok(rows) => {
                tracing::info!(project.id = %project, rows, "dropped {rows} rows of telemetry of {project}")
            }
            Err(error) => {
                tracing::warn!(%error, project.id = %project, "telemetry of {project} stays: {error}")
            }
        }
    }
}

/// Projects whose rows of before a day go. What was deleted is looked for again until the last row that may have come late,
/// from a server's disk for example, is over by itself.
async fn forgetful(platform: &Platform) -> sqlx::Result<Vec<(Tenant, NaiveDate)>> {
    let now = (platform.now)();
    let today = now.date_naive();
    let some = projections::projects::forgetful(&platform.pool).await?;
    let some = some.into_iter().map(|(team, project, days)| {
        let before = today.checked_sub_days(Days::new(days.into())).unwrap_or_default();
        (Tenant { team, project }, before)
    });
    let window = platform.telemetry.window(now);
    let deleted = projections::projects::deleted_since(&platform.pool, *window.start()).await?;
    // Clocks of senders may be ahead: not into the day after the last.
    let all = window.end().date_naive().succ_opt().unwrap_or(NaiveDate::MAX);
    let deleted = deleted.into_iter().map(|(team, project)| (Tenant { team, project }, all));
    Ok(some.chain(deleted).collect())
}

/// The stores. ClickHouse may be away: the server comes up, and looks for it again whenever it needs it.
pub(super) async fn open(config: &Config, pool: &PgPool) -> anyhow::Result<Stores> {
    let days = config.telemetry_days;
    let (spans, signals) = (PostgresSpans::new(pool.clone(), days), PostgresSignals::new(pool.clone(), days));
    let Some(target) = target(config)? else {
        let (spans, signals) = spooled(config, Arc::new(spans), Arc::new(signals))?;
        return Ok(Stores { spans, signals, former: None });
    };
    let store = ClickHouseStore::start_bounded(target.clone(), days, config.question_memory);
    let store = Arc::new(store);
    match store.migrate().await {
        Ok(()) => tracing::info!("telemetry goes to ClickHouse at {target}"),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "telemetry: ClickHouse at {target} cannot be used yet: {error}");
        }
    }
    let former = Some(Former { spans, signals });
    let (spans, signals) = spooled(config, store.clone(), store)?;
    Ok(Stores { spans, signals, former })
}

/// With room on disk before it, for when it is away.
fn spooled(
    config: &Config,
    spans: Arc<dyn Telemetry>,
    signals: Arc<dyn Signals>,
) -> anyhow::Result<(Arc<dyn Telemetry>, Arc<dyn Signals>)> {
    if config.telemetry_spool == 0 {
        return Ok((spans, signals));
    }
    let dir = config.data_dir.join("telemetry");
    let spooled = Spooled::start((spans, signals), &dir, config.telemetry_spool);
    let spooled = spooled.with_context(|| format!("telemetry cannot wait in {}", dir.display()))?;
    let spooled = Arc::new(spooled);
    Ok((spooled.clone(), spooled))
}

/// Brings ClickHouse to the present schema, when telemetry goes there.
pub(super) async fn migrate(config: &Config) -> anyhow::Result<()> {
    let Some(target) = target(config)? else { return Ok(()) };
    let migrated = ClickHouseStore::start(target.clone(), config.telemetry_days).migrate().await;
    migrated.with_context(|| format!("ClickHouse at {target} cannot be brought to the present schema"))
}

/// What telemetry goes to, for people; asks ClickHouse whether it is there and changes nothing.
pub(super) async fn look(config: &Config) -> anyhow::Result<String> {
    let Some(target) = target(config)? else { return Ok("the database".to_owned()) };
    let version = target.version().await.with_context(|| format!("ClickHouse at {target}"))?;
    Ok(format!("ClickHouse {version} at {target}"))
}

fn target(config: &Config) -> anyhow::Result<Option<Target>> {
    let secrets = &config.secrets;
    let target = secrets.clickhouse_url.as_ref().map(|url| {
        Target::try_new(url, secrets.clickhouse_user.clone(), secrets.clickhouse_password.clone())
    });
    target.transpose().context("CLICKHOUSE_URL")
}
