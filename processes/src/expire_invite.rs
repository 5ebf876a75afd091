//! `team.member_invited` or `team.invite_resent` → `team.invite_expired`, once its time is over.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::{Fact, Recorded};
use domain::ids::{InviteId, TeamId};
use domain::team::{TeamCommand, TeamEvent};
use serde::{Deserialize, Serialize};

use crate::{Due, Job, JobError, Process, Work, World};

/// Ends invites whose time is over, so that the address can be invited again.
pub(crate) struct ExpireInvite;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    invite_id: InviteId,
    team_id: TeamId,
    /// When its time is over; work that was stored by an older release does not know it.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

#[async_trait]
impl Process for ExpireInvite {
    fn name(&self) -> &'static str {
        "expire_invite"
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Team(
            team_id,
            TeamEvent::TeamMemberInvited { invite_id, expires_at, .. }
            | TeamEvent::TeamInviteResent { invite_id, expires_at, .. },
        ) = fact
        else {
            return None;
        };
        let payload = Payload { invite_id: *invite_id, team_id: *team_id, expires_at: Some(*expires_at) };
        Some(Job {
            key: format!("{invite_id}/{}", recorded.position),
            lane: format!("expire_invite:{invite_id}"),
            payload: serde_json::to_value(payload).expect("it serialises"),
            due: Due::At(*expires_at),
        })
    }

    /// An invite that has ended, or has got more time, refuses: there is nothing to do.
    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError> {
        let Payload { invite_id, team_id, expires_at } = work.payload()?;
        world.has_come(expires_at)?;
        let command = TeamCommand::ExpireInvite { invite_id, at: (world.now)() };
        let context = world.context(work, Some(team_id)).once("expire");
        world.commands.team(team_id, command, &context).await?;
        Ok(())
    }

    fn tries(&self) -> i32 {
        i32::MAX
    }
}
