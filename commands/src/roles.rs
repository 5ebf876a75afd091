//! Changes to the custom roles of a team, each judged by all of them.

use domain::claim::ClaimScope;
use domain::fact::{Fact, StoredEvent, kind};
use domain::ids::{EventId, RoleId, TeamId};
use domain::role::{RoleBook, RoleCommand, RoleDefinition, RoleError};
use sqlx::Row;
use uuid::Uuid;

use crate::{Answer, CommandError, Commands, Context, Receipt, StoreError, TRIES, conflict, jitter};

/// What becomes of a role.
#[derive(Clone, Debug)]
pub enum RoleChange {
    /// It is made.
    Create(RoleDefinition),
    /// It is something else from now on.
    Change(RoleDefinition),
    /// It ends.
    Delete,
}

impl Commands {
    /// The custom roles of a team, as the log has them now.
    pub async fn roles_of(&self, team: TeamId) -> Result<RoleBook, StoreError> {
        let rows = sqlx::query(
            "SELECT position, event_id, recorded_at, aggregate_id, sequence, event_type, event_version, payload::text,
                    metadata::text
               FROM events WHERE team_id = $1 AND aggregate_type = 'role' ORDER BY position",
        )
        .bind(team.0)
        .fetch_all(self.store.pool())
        .await?;
        let mut book = RoleBook::new(team);
        for row in rows {
            let event = StoredEvent {
                position: row.try_get("position")?,
                event_id: EventId(row.try_get::<Uuid, _>("event_id")?),
                recorded_at: row.try_get("recorded_at")?,
                team_id: Some(team),
                aggregate_type: kind::ROLE.to_owned(),
                aggregate_id: row.try_get("aggregate_id")?,
                sequence: row.try_get("sequence")?,
                event_type: row.try_get("event_type")?,
                event_version: row.try_get("event_version")?,
                payload: row.try_get::<String, _>("payload")?.into(),
                metadata: row.try_get::<String, _>("metadata")?.into(),
            };
            for fact in event.read()?.facts {
                if let Fact::Role(id, event) = fact {
                    book.apply(id, &event);
                }
            }
        }
        Ok(book)
    }

    /// Changes a role, when the team's roles are sound with it, and `may` agrees, who sees them before and after. Judged
    /// anew when somebody else changes a role of the team meanwhile: two changes that only together make a circle are
    /// never both taken.
    pub async fn change_role<E: From<CommandError<RoleError>>>(
        &self,
        team: TeamId,
        id: RoleId,
        change: RoleChange,
        may: impl Fn(&RoleBook, &RoleBook) -> Result<(), E>,
        context: &Context,
    ) -> Result<Receipt, E> {
        let mut tries = 0;
        loop {
            let before = self.roles_of(team).await.map_err(CommandError::from)?;
            let after = match &change {
                RoleChange::Create(role) | RoleChange::Change(role) => before.with(id, role.clone()),
                RoleChange::Delete => before.without(id),
            };
            may(&before, &after.map_err(CommandError::Refused)?)?;
            let revision = Some(before.next());
            let command = match change.clone() {
                RoleChange::Create(definition) => {
                    RoleCommand::CreateRole { team_id: team, definition, revision }
                }
                RoleChange::Change(definition) => RoleCommand::ChangeRole { definition, revision },
                RoleChange::Delete => RoleCommand::DeleteRole { revision },
            };
            let answer: Answer<RoleError> = self.role(id, command, context).await;
            tries += 1;
            match answer {
                Err(CommandError::NameTaken { scope: ClaimScope::RoleRevision, .. }) if tries < TRIES => {
                    conflict(kind::ROLE);
                    tokio::time::sleep(jitter(tries)).await;
                }
                answer => return Ok(answer?),
            }
        }
    }
}
