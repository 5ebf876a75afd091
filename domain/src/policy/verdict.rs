//! Why somebody may do something, or may not.

use chrono::{DateTime, Utc};

use super::{Action, Condition, Context, Grant, Resource, Scope};
use crate::ids::{AssignmentId, TeamId};
use crate::role::Effective;

/// A role that somebody has somewhere, and all that it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Holding {
    /// How he came by it.
    pub source: Source,
    /// Id of a custom role or name of a built-in one.
    pub role: String,
    /// Where it holds.
    pub scope: Scope,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Its permissions, each with the way through the roles it was inherited by.
    pub permissions: Vec<Effective>,
}

/// How somebody came by a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// He belongs to the team.
    Membership(TeamId),
    /// It was assigned to him.
    Assignment(AssignmentId),
}

/// A permission for what was asked, and whether it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding<'a> {
    /// The role it comes from.
    pub holding: &'a Holding,
    /// The permission.
    pub effective: &'a Effective,
    /// Why it does not count; nothing when it does.
    pub bar: Option<Bar<'a>>,
}

/// Why a permission for what was asked does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar<'a> {
    /// It holds elsewhere.
    Scope,
    /// This condition does not hold.
    Condition(&'a Condition),
}

/// An answer with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict<'a> {
    /// Whether it is allowed: the same as [`super::allows`] says.
    pub allowed: bool,
    /// Every permission for it, those that count first.
    pub findings: Vec<Finding<'a>>,
}

impl Holding {
    /// What it allows, without the reasons.
    pub fn grant(&self) -> Grant {
        let permissions = self.permissions.iter().map(|effective| effective.permission.clone()).collect();
        Grant { scope: self.scope, permissions }
    }
}

/// Whether these holdings allow the action on the resource in this context, and why.
pub fn explain<'a>(
    holdings: &'a [Holding],
    resource: Resource,
    action: Action,
    context: &Context,
) -> Verdict<'a> {
    let all = holdings.iter().flat_map(|holding| holding.permissions.iter().map(move |it| (holding, it)));
    let mut findings: Vec<Finding<'_>> = all
        .filter(|(_, effective)| {
            let permission = &effective.permission;
            (permission.resource == Resource::Any || permission.resource == resource)
                && permission.action.implies(action)
        })
        .map(|(holding, effective)| {
            let failing = effective.permission.conditions.iter().find(|condition| !condition.holds(context));
            let bar = match failing {
                _ if !holding.scope.covers(context) => Some(Bar::Scope),
                failing => failing.map(Bar::Condition),
            };
            Finding { holding, effective, bar }
        })
        .collect();
    findings.sort_by_key(|finding| finding.bar.is_some());
    Verdict { allowed: findings.first().is_some_and(|finding| finding.bar.is_none()), findings }
}
