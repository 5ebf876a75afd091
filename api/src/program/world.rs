//! What processes work with: the same things that the API has, and what it has no need of.

use std::sync::Arc;

use api::Platform;
use domain::ports::artifacts::Artifacts;
use domain::ports::email::Email;
use processes::World;
use projections::shred::ShredList;

use super::config::Config;
use super::outbound::Shown;
use super::telemetry_url;

/// The world of the processes of this server.
pub(super) fn world(
    platform: &Platform,
    config: &Config,
    (artifacts, email): (Arc<dyn Artifacts>, Arc<dyn Email>),
) -> anyhow::Result<World> {
    Ok(World {
        pool: platform.pool.clone(),
        commands: platform.commands.clone(),
        feed: platform.feed.clone(),
        runner: platform.runner.clone(),
        artifacts,
        git: platform.git.clone(),
        hosts: platform.hosts.clone(),
        push_hooks: platform.push_hooks.clone(),
        logs: platform.logs.clone(),
        traffic: platform.router.clone(),
        email,
        outbound: platform.outbound.clone(),
        shown: Arc::new(Shown(platform.commands.clone())),
        shred_list: ShredList::new(&config.data_dir),
        now: platform.now,
        public_url: platform.settings.public_url.clone(),
        telemetry_url: telemetry_url::read(
            config.telemetry_url.as_deref(),
            &platform.settings.public_url,
            platform.runner.shares_loopback(),
        )?,
        start_deadline: config.start_deadline,
    })
}
