//! Why somebody may do something: the role, the way it was inherited, the conditions, and the events that made it so.

use std::collections::HashMap;

use domain::fact::{Fact, StoredEvent};
use domain::ids::UserId;
use domain::policy::{Bar, Finding, Holding, Permission, Source, Verdict};
use domain::role::{RoleDefinition, RoleEvent};
use projections::log;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::platform::Platform;

/// What gives or changes a membership.
const MEMBERSHIP: &[&str] = &["team.created", "team.member_added", "team.member_role_changed"];

/// Looks up the events behind verdicts of one moment.
pub(super) struct Reasons<'a> {
    platform: &'a Platform,
    /// Up to here the log counts; none when events are not told.
    upto: Option<i64>,
    /// The definitions of roles, each with the event that made it.
    roles: HashMap<String, Vec<(Value, Option<RoleDefinition>)>>,
}

impl<'a> Reasons<'a> {
    /// Reasons with their events up to a position.
    pub(super) fn up_to(platform: &'a Platform, position: i64) -> Self {
        Self { platform, upto: Some(position), roles: HashMap::new() }
    }

    /// Reasons without events, for who may not know who did what.
    pub(super) fn without_events(platform: &'a Platform) -> Self {
        Self { platform, upto: None, roles: HashMap::new() }
    }

    /// Every permission for what was asked, and why it counts or does not.
    pub(super) async fn of(&mut self, user: UserId, verdict: &Verdict<'_>) -> Result<Vec<Value>, ApiError> {
        let mut told = Vec::with_capacity(verdict.findings.len());
        for finding in &verdict.findings {
            told.push(self.one(user, finding).await?);
        }
        Ok(told)
    }

    async fn one(&mut self, user: UserId, finding: &Finding<'_>) -> Result<Value, ApiError> {
        let Finding { holding, effective, bar } = finding;
        let (kind, id) = match holding.source {
            Source::Membership(team) => ("membership", team.to_string()),
            Source::Assignment(id) => ("assignment", id.to_string()),
        };
        let mut told = json!({
            "counts": bar.is_none(),
            "source": { "type": kind, "id": id },
            "role": holding.role,
            "scope": holding.scope,
            "since": holding.since,
            "through": effective.through,
            "permission": effective.permission,
        });
        match bar {
            None => {}
            Some(Bar::Scope) => told["missing"] = json!({ "reason": "scope" }),
            Some(Bar::Condition(condition)) => {
                told["missing"] = json!({ "reason": "condition", "condition": condition });
            }
        }
        if let Some(upto) = self.upto {
            told["events"] =
                self.events(user, holding, (&effective.permission, &effective.through), upto).await?;
        }
        Ok(told)
    }

    /// The event that gave the role, and for each custom role on the way the one since which it has the permission, or
    /// inherits from the next.
    async fn events(
        &mut self,
        user: UserId,
        holding: &Holding,
        (permission, through): (&Permission, &[String]),
        upto: i64,
    ) -> Result<Value, ApiError> {
        let pool = &self.platform.pool;
        let given = match holding.source {
            Source::Membership(team) => {
                log::last_of(pool, ("team", &team.to_string()), MEMBERSHIP, Some(user), upto).await?
            }
            Source::Assignment(id) => {
                log::last_of(pool, ("role_assignment", &id.to_string()), &["role.assigned"], None, upto)
                    .await?
            }
        };
        let mut events: Vec<Value> = given.iter().map(view).collect();
        for (n, role) in through.iter().enumerate() {
            let next = through.get(n + 1);
            let has = |role: &RoleDefinition| match next {
                Some(next) => role.inherits.contains(next),
                None => role.permissions.contains(permission),
            };
            let history = self.role(role, upto).await?;
            let since = history.iter().rposition(|(_, role)| !role.as_ref().is_some_and(has));
            events.extend(history.get(since.map_or(0, |at| at + 1)).map(|(event, _)| event.clone()));
        }
        Ok(events.into())
    }

    /// What a custom role was, change by change; nothing for a built-in one.
    async fn role(&mut self, role: &str, upto: i64) -> Result<&[(Value, Option<RoleDefinition>)], ApiError> {
        if !self.roles.contains_key(role) {
            let mut history = vec![];
            for event in log::read_stream(&self.platform.pool, "role", role).await? {
                if event.position > upto {
                    break;
                }
                let shown = view(&event);
                let read = event.read().map_err(|error| ApiError::internal(&error))?;
                for fact in read.facts {
                    let Fact::Role(_, event) = fact else { continue };
                    let definition = match event {
                        RoleEvent::RoleCreated { definition, .. }
                        | RoleEvent::RoleChanged { definition, .. } => Some(definition),
                        RoleEvent::RoleDeleted { .. } => None,
                    };
                    history.push((shown.clone(), definition));
                }
            }
            self.roles.insert(role.to_owned(), history);
        }
        Ok(self.roles.get(role).map_or(&[], Vec::as_slice))
    }
}

/// An event as a reason: which, by whom, when.
fn view(event: &StoredEvent) -> Value {
    let envelope = event.metadata.envelope();
    json!({
        "eventId": event.event_id,
        "position": event.position,
        "type": event.event_type,
        "actor": envelope.actor.to_string(),
        "onBehalfOf": envelope.on_behalf_of.as_ref().map(ToString::to_string),
        "at": event.recorded_at,
    })
}
