//! What is not kept any longer is said to be so: a reconciler. It only decides; `remove_artifact` removes.

use std::time::Duration;

use commands::Context;
use domain::build::BuildCommand;
use domain::envelope::Actor;
use projections::artifacts::{Retention, needless};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{JobError, World};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(3600);

/// How long the query tables may take to know all that is there: what was deployed a moment ago is needed.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// Looks at once and then every hour, until `stop`.
pub async fn prune_artifacts(world: World, retention: Retention, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            pruned = prune(&world, retention) => {
                if let Err(error) = pruned {
                    tracing::warn!(%error, "artifacts that nobody needs are still kept: {error}");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn prune(world: &World, retention: Retention) -> Result<(), JobError> {
    let head = projections::log::head(&world.pool).await?;
    if !world.feed.wait_for(head, CATCHING_UP).await {
        return Err(JobError::Retry("the query tables are behind".to_owned()));
    }
    for (build, team) in needless(&world.pool, retention, (world.now)()).await? {
        let actor = Actor::Process("prune_artifacts".to_owned());
        let bare = Context::bare(actor, Uuid::now_v7().to_string(), (world.now)());
        let context = Context { team_id: Some(team), ..bare };
        world.commands.build(build, BuildCommand::PruneArtifact, &context).await?;
    }
    Ok(())
}
