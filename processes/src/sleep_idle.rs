//! Whom nobody asks for anything, sleeps: a reconciler over the deployments of projects with `minScale` 0.
//!
//! Each server writes down what its own router knows; whoever has the server on his machine looks at what all wrote.

use std::time::Duration;

use chrono::TimeDelta;
use commands::{CommandError, Context};
use domain::deployment::{DeploymentCommand, DeploymentError};
use domain::ports::runner::Health;
use projections::deployments;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{JobError, World};

/// Looks until `stop`, ten times in `idle`, after which without a request a deployment sleeps.
pub async fn sleep_idle(world: World, idle: Duration, stop: CancellationToken) {
    let every = (idle / 10).clamp(Duration::from_millis(200), Duration::from_secs(15));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = look(&world, idle).await {
            tracing::warn!(%error, "who is idle could not be found out");
        }
    }
}

async fn look(world: &World, idle: Duration) -> Result<(), JobError> {
    let idle = TimeDelta::from_std(idle).unwrap_or(TimeDelta::MAX);
    for (id, team, since) in deployments::that_may_sleep(&world.pool).await? {
        let now = (world.now)();
        let here = world.traffic.idle(id).and_then(|quiet| TimeDelta::from_std(quiet).ok());
        let used = here.map(|quiet| now - quiet).filter(|used| *used > since);
        if let Some(used) = used {
            deployments::note_use(&world.pool, id, used).await?;
        }
        if now - used.unwrap_or(since) < idle || world.runner.health(id).await == Health::Absent {
            continue;
        }
        tracing::info!(deployment.id = %id, "deployment {id} was not asked for anything and sleeps");
        let process = "sleep_idle";
        let context = Context::bare(
            domain::envelope::Actor::Process(process.to_owned()),
            Uuid::now_v7().to_string(),
            now,
        );
        let context = Context { team_id: Some(team), ..context };
        match world.commands.deployment(id, DeploymentCommand::SleepDeployment, &context).await {
            Ok(_)
            | Err(CommandError::Refused(DeploymentError::AlreadyOver | DeploymentError::NotStarted)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    deployments::forget_uses(&world.pool).await?;
    Ok(())
}
