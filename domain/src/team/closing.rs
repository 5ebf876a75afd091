//! How a team is closed, reopened and in the end purged.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Team, TeamCommand, TeamError, TeamEvent};
use crate::values::Slug;

/// For so long a team that was closed can be reopened.
pub const RESTORABLE: TimeDelta = TimeDelta::days(30);

/// Whether a team is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Life {
    /// It is.
    #[default]
    Open,
    /// Everything of it has stopped and nothing is lost.
    Closed {
        /// When it is purged, unless it is reopened.
        until: DateTime<Utc>,
    },
    /// It is no more.
    Deleted,
}

impl Team {
    /// Whether a team that is closed answers this as an open one. What the world outside takes away meanwhile stays
    /// taken away when it is reopened: people who are gone, lost ranks, time that has run out.
    pub(super) fn goes_on(&self, command: &TeamCommand) -> bool {
        use TeamCommand::*;
        let takes_away = match command {
            ChangeMemberRole { user_id, role, .. } => {
                self.members.get(user_id).is_some_and(|present| role < present)
            }
            RemoveMember { .. }
            | ExpireInvite { .. }
            | ChangeInstallationStatus { .. }
            | RemoveInstallation { .. } => true,
            _ => false,
        };
        takes_away && matches!(self.life, Life::Closed { .. })
    }

    /// What else is asked of a team that is not open.
    pub(super) fn decide_closed(
        &self,
        command: TeamCommand,
        slug: Slug,
    ) -> Result<Vec<TeamEvent>, TeamError> {
        use TeamCommand::*;
        match (self.life, command) {
            (Life::Closed { .. } | Life::Deleted, CloseTeam { .. }) | (Life::Deleted, PurgeTeam { .. }) => {
                Ok(vec![])
            }
            (Life::Closed { .. }, AddMember { user_id, .. }) if self.members.contains_key(&user_id) => {
                Ok(vec![])
            }
            (Life::Closed { .. }, ReopenTeam) => Ok(vec![TeamEvent::TeamReopened {}]),
            (Life::Closed { until }, PurgeTeam { at }) if at < until => Err(TeamError::StillRestorable),
            (Life::Closed { .. }, PurgeTeam { .. }) => {
                let open = self.invites.iter().filter(|(_, invite)| invite.is_open());
                let mut events: Vec<_> = open.map(|(id, invite)| invite.revoked(*id)).collect();
                events.push(TeamEvent::TeamDeleted { slug });
                Ok(events)
            }
            _ => Err(TeamError::Unknown),
        }
    }
}
