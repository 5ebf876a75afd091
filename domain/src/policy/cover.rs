//! Whether somebody holds what he wants to give away.

use super::{Condition, ConditionValue, Context, Grant, Operator, Permission, Resource};

/// Whether who holds these grants may give away the permission where the context says: it names the team, for a
/// project the project too, and for everywhere nothing.
///
/// Whatever the permission allows there, in whatever request, one of the grants allows too. The reverse is not promised:
/// what is held only by several permissions together (`*` by each resource, `manage` by each action) is not held.
pub fn covers(held: &[Grant], given: &Permission, place: &Context) -> bool {
    held.iter()
        .filter(|grant| grant.scope.covers(place))
        .flat_map(|grant| &grant.permissions)
        .any(|held| held.covers(given))
}

impl Permission {
    /// Whether every request that `given` allows is allowed by this too.
    fn covers(&self, given: &Self) -> bool {
        (self.resource == Resource::Any || self.resource == given.resource)
            && self.action.implies(given.action)
            && self.conditions.iter().all(|own| given.conditions.iter().any(|theirs| theirs.implies(own)))
    }
}

impl Condition {
    /// Whether `other` holds wherever this does. Errs towards no.
    fn implies(&self, other: &Self) -> bool {
        let is_one_of = self.is_sound() && matches!(self.operator, Operator::Eq | Operator::In);
        let holds_for_each = || self.texts().iter().all(|value| other.holds_for(Some(value.clone())));
        self == other || (is_one_of && self.field == other.field && holds_for_each())
    }

    /// The texts that it compares with.
    pub(crate) fn texts(&self) -> &[String] {
        match &self.value {
            ConditionValue::Flag(_) => &[],
            ConditionValue::Text(text) => std::slice::from_ref(text),
            ConditionValue::List(list) => list,
        }
    }
}
