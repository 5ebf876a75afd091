//! The rules of a custom role.

use domain::ids::TeamId;
use domain::policy::{Action, Permission, Resource};
use domain::role::RoleCommand::*;
use domain::role::RoleEvent::*;
use domain::role::{Role, RoleCommand, RoleDefinition, RoleError, RoleEvent};
use proptest::prelude::*;

use super::machine::{Answer, Model};
use super::values::{ids, texts};

/// A role's way: not yet, as defined, gone.
#[derive(Clone, Debug, Default)]
pub(crate) enum Rules {
    #[default]
    NotYet,
    Defined(TeamId, RoleDefinition),
    Gone,
}

fn definitions() -> impl Strategy<Value = RoleDefinition> {
    let permissions = prop::sample::select(&[Action::Read, Action::Manage][..])
        .prop_map(|action| vec![Permission { resource: Resource::Team, action, conditions: vec![] }]);
    let inherits = prop::option::of(texts::<String>(&["team:viewer"]));
    (texts(&["Recruiter", "Auditor"]), permissions, inherits).prop_map(|(name, permissions, inherits)| {
        let description = inherits.clone();
        RoleDefinition { name, description, permissions, inherits: inherits.into_iter().collect() }
    })
}

impl Model for Rules {
    type Of = Role;

    fn births() -> BoxedStrategy<RoleCommand> {
        (ids(2), definitions())
            .prop_map(|(team_id, definition)| CreateRole { team_id, definition, revision: None })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<RoleCommand> {
        let change = definitions().prop_map(|definition| ChangeRole { definition, revision: None });
        prop_oneof![15 => change, 1 => Just(DeleteRole { revision: None })].boxed()
    }

    fn is_born(&self) -> bool {
        !matches!(self, Self::NotYet)
    }

    fn obey(&mut self, command: RoleCommand) -> Answer<Self> {
        match (&mut *self, command) {
            (Self::NotYet, CreateRole { team_id, definition, .. }) => {
                *self = Self::Defined(team_id, definition.clone());
                Ok(vec![RoleCreated { team_id, definition, revision: None }])
            }
            (Self::NotYet, _) => Err(RoleError::Unknown),
            (Self::Defined(team, known), CreateRole { team_id, definition, .. }) => {
                if *team == team_id && *known == definition { Ok(vec![]) } else { Err(RoleError::Exists) }
            }
            (Self::Defined(_, known), ChangeRole { definition, .. }) => {
                let old = std::mem::replace(known, definition.clone());
                Ok(if old == definition {
                    vec![]
                } else {
                    vec![RoleChanged { definition, old, revision: None }]
                })
            }
            (Self::Defined(_, known), DeleteRole { .. }) => {
                let old = known.clone();
                *self = Self::Gone;
                Ok(vec![RoleDeleted { old, revision: None }])
            }
            (Self::Gone, DeleteRole { .. }) => Ok(vec![]),
            (Self::Gone, _) => Err(RoleError::Unknown),
        }
    }

    fn check(&self, _: &Role, history: &[RoleEvent]) {
        let gone = history.iter().position(|event| matches!(event, RoleDeleted { .. }));
        assert!(gone.is_none_or(|at| at + 1 == history.len()), "nothing follows the end");
        let definition = |event: &RoleEvent| match event {
            RoleCreated { definition, .. } | RoleChanged { definition, .. } => Some(definition.clone()),
            RoleDeleted { .. } => None,
        };
        for pair in history.windows(2) {
            let (RoleChanged { old, .. } | RoleDeleted { old, .. }) = &pair[1] else {
                panic!("a role begins once")
            };
            assert_eq!(definition(&pair[0]).as_ref(), Some(old), "what it was is what it was made before");
        }
    }
}
