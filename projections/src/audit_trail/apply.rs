//! How events become rows of the audit trail.

use async_trait::async_trait;
use domain::build::BuildEvent;
use domain::deployment::DeploymentEvent;
use domain::fact::{Fact, Recorded};
use domain::policy::Scope;
use domain::project::ProjectEvent;
use domain::role::RoleEvent;
use domain::role_assignment::RoleAssignmentEvent;
use sqlx::PgConnection;
use uuid::Uuid;

use super::before_after::before_after;
use crate::feed::Consumer;

/// The read model.
pub struct AuditTrail;

#[async_trait]
impl Consumer for AuditTrail {
    fn name(&self) -> &'static str {
        "audit_trail"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE audit_trail (
            position      bigint      PRIMARY KEY,
            event_id      uuid        NOT NULL UNIQUE,
            at            timestamptz NOT NULL,
            actor         text        NOT NULL,
            on_behalf_of  text,
            team_id       uuid,
            project_id    uuid,
            action        text        NOT NULL,
            resource_type text        NOT NULL,
            resource_id   text        NOT NULL,
            request_id    text        NOT NULL,
            causation     text        NOT NULL,
            correlation   text        NOT NULL,
            source_ip     text,
            user_agent    text,
            before        jsonb,
            after         jsonb
        );
        CREATE INDEX audit_trail_team ON audit_trail (team_id, position);
        CREATE INDEX audit_trail_actor ON audit_trail (team_id, actor, position);
        CREATE INDEX audit_trail_resource ON audit_trail (team_id, resource_id, position);
        CREATE INDEX audit_trail_action ON audit_trail (team_id, action, position);
        -- Whose a thing is: events after the first do not say.
        CREATE TABLE audit_owners (
            resource_type text NOT NULL,
            resource_id   text NOT NULL,
            team_id       uuid,
            project_id    uuid,
            PRIMARY KEY (resource_type, resource_id)
        );"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["audit_trail", "audit_owners"]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        note_owner(db, recorded).await?;
        let (before, after) = before_after(&recorded.payload);
        let envelope = &recorded.envelope;
        sqlx::query(
            "INSERT INTO audit_trail (position, event_id, at, actor, on_behalf_of, team_id, project_id, action,
                                      resource_type, resource_id, request_id, causation, correlation, source_ip,
                                      user_agent, before, after)
             SELECT $1, $2, $3, $4, $5, coalesce($6, o.team_id), o.project_id, $7, $8, $9, $10, $11, $12, $13, $14,
                    $15, $16
               FROM (SELECT) always
               LEFT JOIN audit_owners o ON o.resource_type = $8 AND o.resource_id = $9",
        )
        .bind(recorded.position)
        .bind(recorded.event_id.0)
        .bind(recorded.at)
        .bind(envelope.actor.to_string())
        .bind(envelope.on_behalf_of.as_ref().map(ToString::to_string))
        .bind(recorded.team_id.map(|id| id.0))
        .bind(&recorded.event_type)
        .bind(&recorded.aggregate_type)
        .bind(&recorded.aggregate_id)
        .bind(&envelope.request_id)
        .bind(&envelope.causation)
        .bind(&envelope.correlation)
        .bind(&envelope.source_ip)
        .bind(&envelope.user_agent)
        .bind(before)
        .bind(after)
        .execute(db)
        .await
        .map(drop)
    }
}

/// Whose a thing is, as its first event says. A project's team is looked up.
fn owner(fact: &Fact) -> Option<(Option<Uuid>, Option<Uuid>)> {
    let (team, project) = match fact {
        Fact::Team(id, _) => (Some(id.0), None),
        Fact::Project(id, ProjectEvent::ProjectCreated { team_id, .. }) => (Some(team_id.0), Some(id.0)),
        Fact::Build(_, BuildEvent::BuildRequested { team_id, project_id, .. })
        | Fact::Deployment(_, DeploymentEvent::DeploymentRequested { team_id, project_id, .. }) => {
            (Some(team_id.0), Some(project_id.0))
        }
        Fact::Role(_, RoleEvent::RoleCreated { team_id, .. }) => (Some(team_id.0), None),
        Fact::RoleAssignment(_, RoleAssignmentEvent::RoleAssigned { scope, .. }) => match scope {
            Scope::Global => return None,
            Scope::Team { team_id } => (Some(team_id.0), None),
            Scope::Project { project_id } => (None, Some(project_id.0)),
        },
        _ => return None,
    };
    Some((team, project))
}

async fn note_owner(db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
    let Some((team, project)) = owner(&recorded.fact) else { return Ok(()) };
    sqlx::query(
        "INSERT INTO audit_owners (resource_type, resource_id, team_id, project_id)
         VALUES ($1, $2,
                 coalesce($3, (SELECT p.team_id FROM audit_owners p
                                WHERE p.resource_type = 'project' AND p.resource_id = $4::uuid::text)),
                 $4)
         ON CONFLICT (resource_type, resource_id) DO NOTHING",
    )
    .bind(&recorded.aggregate_type)
    .bind(&recorded.aggregate_id)
    .bind(team)
    .bind(project)
    .execute(db)
    .await
    .map(drop)
}
