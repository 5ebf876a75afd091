//! What a role allows, with all that it inherits. Pure.

use std::collections::{HashMap, HashSet};

use domain::policy::{BuiltinRole, Permission};
use domain::role::RoleDefinition;

/// A chain of roles longer than this is cut: nobody builds one by intention.
const DEPTH: usize = 16;

/// The permissions of a role: built-in, or one of `custom` by its id. Unknown roles allow nothing; a role that
/// inherits from itself is walked once.
pub(super) fn permissions(role: &str, custom: &HashMap<String, RoleDefinition>) -> Vec<Permission> {
    let mut all = vec![];
    let mut seen = HashSet::new();
    let mut level = vec![role];
    for _ in 0..DEPTH {
        let mut next = vec![];
        for role in level {
            if !seen.insert(role) {
                continue;
            }
            if let Some(builtin) = BuiltinRole::from_stored(role) {
                all.extend(builtin.permissions());
            } else if let Some(definition) = custom.get(role) {
                all.extend(definition.permissions.iter().cloned());
                next.extend(definition.inherits.iter().map(String::as_str));
            }
        }
        level = next;
    }
    all
}

#[cfg(test)]
mod tests {
    use domain::policy::{Action, Resource};

    use super::*;

    fn role(resource: Resource, inherits: &[&str]) -> RoleDefinition {
        RoleDefinition {
            name: "A role".parse().unwrap(),
            description: None,
            permissions: vec![Permission::new(resource, Action::Read)],
            inherits: inherits.iter().map(|role| (*role).to_owned()).collect(),
        }
    }

    #[test]
    fn a_role_has_what_it_inherits_at_any_depth() {
        let custom = HashMap::from([
            ("a".to_owned(), role(Resource::Audit, &["b"])),
            ("b".to_owned(), role(Resource::Logs, &["project:viewer", "gone"])),
        ]);
        let all = permissions("a", &custom);
        for resource in [Resource::Audit, Resource::Logs, Resource::Build] {
            assert!(all.contains(&Permission::new(resource, Action::Read)), "{resource}");
        }
    }

    #[test]
    fn a_cycle_ends() {
        let custom = HashMap::from([
            ("a".to_owned(), role(Resource::Audit, &["b"])),
            ("b".to_owned(), role(Resource::Logs, &["a"])),
        ]);
        assert_eq!(permissions("a", &custom).len(), 2);
    }

    #[test]
    fn an_unknown_role_allows_nothing() {
        assert!(permissions("gone", &HashMap::new()).is_empty());
    }
}
