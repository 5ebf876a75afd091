//! All custom roles of a team: what they come to together, and which change to one of them is allowed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Revision, RoleDefinition, RoleError, RoleEvent};
use crate::ids::{RoleId, TeamId};
use crate::policy::{BuiltinRole, Permission};

/// Roles stand on each other so deep at most, the first and the last counted: deeper than anybody can follow, and a
/// bound for every question about rights.
pub const MAX_DEPTH: usize = 8;
const MAX_ROLES: usize = 200;
const MAX_PERMISSIONS: usize = 200;
const MAX_PARENTS: usize = 20;
const MAX_CONDITIONS: usize = 10;
const MAX_VALUES: usize = 100;
const MAX_TEXT: usize = 500;

/// A permission of a role with the way it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The permission.
    pub permission: Permission,
    /// The roles through which it was inherited, beginning with the one that was asked about and ending with the one
    /// that has it by itself.
    pub through: Vec<String>,
}

/// The custom roles of a team, as the log has them.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleBook {
    team_id: TeamId,
    roles: BTreeMap<RoleId, RoleDefinition>,
    changes: i64,
}

impl RoleBook {
    /// A team without roles.
    pub fn new(team_id: TeamId) -> Self {
        Self { team_id, roles: BTreeMap::new(), changes: 0 }
    }

    /// Takes in what happened to one of them.
    pub fn apply(&mut self, id: RoleId, event: &RoleEvent) {
        self.changes += 1;
        match event {
            RoleEvent::RoleCreated { definition, .. } | RoleEvent::RoleChanged { definition, .. } => {
                self.roles.insert(id, definition.clone());
            }
            RoleEvent::RoleDeleted { .. } => drop(self.roles.remove(&id)),
        }
    }

    /// What the next change is numbered.
    pub fn next(&self) -> Revision {
        Revision { team_id: self.team_id, number: self.changes + 1 }
    }

    /// One of them.
    pub fn get(&self, id: RoleId) -> Option<&RoleDefinition> {
        self.roles.get(&id)
    }

    /// The book with this role in it, new or changed.
    ///
    /// # Errors
    /// What no role may be, and what no team's roles may be together.
    pub fn with(&self, id: RoleId, definition: RoleDefinition) -> Result<Self, RoleError> {
        check(&definition)?;
        let mut book = self.clone();
        book.roles.insert(id, definition);
        if book.roles.len() > MAX_ROLES {
            return Err(RoleError::TooMany("a team has at most 200 roles of its own"));
        }
        let mut depths = BTreeMap::new();
        for id in book.roles.keys() {
            if book.depth(*id, &mut depths)? > MAX_DEPTH {
                return Err(RoleError::TooDeep);
            }
        }
        Ok(book)
    }

    /// The book without this role.
    ///
    /// # Errors
    /// When other roles inherit from it.
    pub fn without(&self, id: RoleId) -> Result<Self, RoleError> {
        let name = id.to_string();
        if self.roles.iter().any(|(other, role)| *other != id && role.inherits.contains(&name)) {
            return Err(RoleError::Inherited);
        }
        let mut book = self.clone();
        book.roles.remove(&id);
        Ok(book)
    }

    /// Everything that a role of this team or a built-in one allows.
    pub fn effective(&self, role: &str) -> Vec<Effective> {
        effective(role, |name| name.parse().ok().and_then(|id| self.roles.get(&id)))
    }

    /// On how many roles it stands, itself counted. `None` in `known` marks those that are being looked at.
    fn depth(&self, id: RoleId, known: &mut BTreeMap<RoleId, Option<usize>>) -> Result<usize, RoleError> {
        match known.get(&id) {
            Some(Some(depth)) => return Ok(*depth),
            Some(None) => return Err(RoleError::Cycle),
            None => {}
        }
        known.insert(id, None);
        let mut deepest = 0;
        for parent in self.roles.get(&id).map_or(&[][..], |role| &role.inherits) {
            let depth = if BuiltinRole::from_stored(parent).is_some() {
                1
            } else {
                let unknown = || RoleError::UnknownParent(parent.clone());
                let parent = parent.parse().map_err(|_| unknown())?;
                if !self.roles.contains_key(&parent) {
                    return Err(unknown());
                }
                self.depth(parent, known)?
            };
            deepest = deepest.max(depth);
        }
        known.insert(id, Some(deepest + 1));
        Ok(deepest + 1)
    }
}

/// What a role allows, with all that it inherits. Each role is looked at once, by the shortest way to it.
pub fn effective<'a>(role: &str, find: impl Fn(&str) -> Option<&'a RoleDefinition>) -> Vec<Effective> {
    let mut all = vec![];
    let mut seen = BTreeSet::new();
    let mut level = vec![vec![role.to_owned()]];
    for _ in 0..MAX_DEPTH {
        let mut next = vec![];
        for through in level {
            let Some(role) = through.last().filter(|role| seen.insert((*role).clone())) else { continue };
            let (permissions, parents) = match (BuiltinRole::from_stored(role), find(role)) {
                (Some(builtin), _) => (builtin.permissions(), &[][..]),
                (None, Some(definition)) => (definition.permissions.clone(), &definition.inherits[..]),
                (None, None) => continue,
            };
            let with_way = |permission| Effective { permission, through: through.clone() };
            all.extend(permissions.into_iter().map(with_way));
            let longer = |parent: &String| through.iter().chain([parent]).cloned().collect::<Vec<_>>();
            next.extend(parents.iter().filter(|parent| !seen.contains(*parent)).map(longer));
        }
        level = next;
    }
    all
}

/// What no role may be, whatever the others are.
fn check(definition: &RoleDefinition) -> Result<(), RoleError> {
    let RoleDefinition { description, permissions, inherits, .. } = definition;
    if description.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT || text.contains('\0')) {
        return Err(RoleError::TooMany("a description has at most 500 characters, none of them NUL"));
    }
    if permissions.len() > MAX_PERMISSIONS {
        return Err(RoleError::TooMany("a role has at most 200 permissions of its own"));
    }
    if inherits.len() > MAX_PARENTS {
        return Err(RoleError::TooMany("a role inherits from at most 20 others"));
    }
    for permission in permissions {
        if permission.conditions.len() > MAX_CONDITIONS {
            return Err(RoleError::TooMany("a permission has at most 10 conditions"));
        }
        for condition in &permission.conditions {
            if !condition.is_sound() {
                return Err(RoleError::BadCondition(condition.field.clone()));
            }
            if condition.texts().len() > MAX_VALUES
                || condition.texts().iter().any(|text| text.len() > MAX_TEXT || text.contains('\0'))
            {
                return Err(RoleError::TooMany(
                    "a condition compares with at most 100 texts of at most 500 bytes, without NUL",
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
