//! `team.closed` → `team.deleted`, once its time is over.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::TeamId;
use domain::team::{TeamCommand, TeamEvent};
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Ends teams for good that nobody has reopened.
pub(crate) struct PurgeTeam;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    team_id: TeamId,
    /// When its time is over; work that was stored by an older release does not know it.
    #[serde(default)]
    until: Option<DateTime<Utc>>,
}

#[async_trait]
impl Process for PurgeTeam {
    fn name(&self) -> &'static str {
        "purge_team"
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Team(team_id, TeamEvent::TeamClosed { until }) = fact else { return None };
        Some(Job {
            key: format!("{team_id}/{}", recorded.position),
            lane: format!("purge_team:{team_id}"),
            payload: serde_json::to_value(Payload { team_id: *team_id, until: Some(*until) })
                .expect("it serialises"),
            due: Due::At(*until),
        })
    }

    /// A team that was reopened refuses, and one that was closed later once more too: there is nothing to do.
    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { team_id, until } = work.payload()?;
        world.has_come(until)?;
        let command = TeamCommand::PurgeTeam { at: (world.now)() };
        let context = world.context(work, Some(team_id)).once("purge");
        world.commands.team(team_id, command, &context).await?;
        Ok(())
    }

    fn tries(&self) -> i32 {
        i32::MAX
    }
}
