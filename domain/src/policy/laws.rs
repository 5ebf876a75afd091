//! What holds of every set of grants and every request.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::role::Effective;

const TEXTS: [&str; 3] = ["main", "next", "old"];

fn teams() -> impl Strategy<Value = TeamId> {
    (1..3_u128).prop_map(|n| TeamId(Uuid::from_u128(n)))
}

fn projects() -> impl Strategy<Value = ProjectId> {
    (1..3_u128).prop_map(|n| ProjectId(Uuid::from_u128(n)))
}

fn scopes() -> impl Strategy<Value = Scope> {
    prop_oneof![
        1 => Just(Scope::Global),
        3 => teams().prop_map(|team_id| Scope::Team { team_id }),
        3 => projects().prop_map(|project_id| Scope::Project { project_id }),
    ]
}

/// Conditions that make sense, and some that do not.
fn conditions() -> impl Strategy<Value = Condition> {
    use Operator::{Eq, Exists, In, Neq, Nin};
    let texts = || prop::sample::select(&TEXTS[..]).prop_map(str::to_owned);
    let lists = prop::collection::vec(texts(), 0..3).prop_map(ConditionValue::List);
    let values = prop_oneof![
        4 => texts().prop_map(ConditionValue::Text),
        4 => lists,
        1 => any::<bool>().prop_map(ConditionValue::Flag),
    ];
    let operators = prop::sample::select(&[Eq, Neq, In, Nin, Exists][..]);
    let fields = prop::sample::select(&["branch", "branch", "branch", "environment", "colour"][..]);
    (fields, operators, values).prop_map(|(field, operator, value)| Condition {
        field: field.to_owned(),
        operator,
        value,
    })
}

fn permissions() -> impl Strategy<Value = Permission> {
    let resources = prop::sample::select(&[Resource::Build, Resource::Project, Resource::Any][..]);
    let actions = prop::sample::select(&[Action::Read, Action::Execute, Action::Manage, Action::Any][..]);
    (resources, actions, prop::collection::vec(conditions(), 0..3))
        .prop_map(|(resource, action, conditions)| Permission { resource, action, conditions })
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let grant = (scopes(), prop::collection::vec(permissions(), 0..4))
        .prop_map(|(scope, permissions)| Grant { scope, permissions });
    prop::collection::vec(grant, 0..4)
}

fn contexts() -> impl Strategy<Value = Context> {
    let branches = prop::option::of(prop::sample::select(&TEXTS[..]).prop_map(str::to_owned));
    let environments = prop::option::of((1..3_u128).prop_map(|n| EnvironmentId(Uuid::from_u128(n))));
    (prop::option::of(teams()), prop::option::of(projects()), branches, environments).prop_map(
        |(team_id, project_id, branch, environment)| Context {
            team_id,
            project_id,
            branch,
            environment,
            ..Context::default()
        },
    )
}

fn asked() -> impl Strategy<Value = (Resource, Action)> {
    let resources = prop::sample::select(&[Resource::Build, Resource::Project, Resource::Audit][..]);
    (resources, prop::sample::select(&[Action::Read, Action::Execute, Action::Delete, Action::Manage][..]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Who is given more may not do less.
    #[test]
    fn more_grants_never_take_anything_away(
        held in grants(), more in grants(), (resource, action) in asked(), context in contexts(),
    ) {
        let before = allows(&held, resource, action, &context);
        let all: Vec<Grant> = held.into_iter().chain(more).collect();
        prop_assert!(!before || allows(&all, resource, action, &context));
    }

    /// What may be given away allows nothing, in no request, that who gives it could not do there himself.
    #[test]
    fn nothing_above_the_grantor_can_be_granted(
        held in grants(), given in permissions(), (resource, action) in asked(), context in contexts(),
    ) {
        let place = Context { team_id: context.team_id, project_id: context.project_id, ..Context::default() };
        if covers(&held, &given, &place) && given.allows(resource, action, &context) {
            prop_assert!(allows(&held, resource, action, &context));
        }
    }

    /// In a team only what holds in all of it can be given away: what is given holds in its projects too.
    #[test]
    fn what_is_given_in_a_team_is_held_in_all_its_projects(
        held in grants(), given in permissions(), (resource, action) in asked(), context in contexts(),
    ) {
        let place = Context { team_id: context.team_id, ..Context::default() };
        if context.team_id.is_some() && covers(&held, &given, &place) && given.allows(resource, action, &context) {
            prop_assert!(allows(&held, resource, action, &context));
        }
    }

    /// Whoever holds something may give it away as it is: nothing is lost on the way down.
    #[test]
    fn what_is_held_can_be_given_as_it_is(held in grants(), context in contexts()) {
        for grant in held.iter().filter(|grant| grant.scope.covers(&context)) {
            for permission in &grant.permissions {
                prop_assert!(covers(&held, permission, &context), "{permission:?}");
            }
        }
    }

    /// The verdict with its reasons is the verdict.
    #[test]
    fn an_explanation_says_what_is_so(
        held in grants(), (resource, action) in asked(), context in contexts(),
    ) {
        let holdings: Vec<Holding> = held.iter().map(|grant| Holding {
            source: Source::Membership(TeamId(Uuid::from_u128(1))),
            role: "x".to_owned(),
            scope: grant.scope,
            since: chrono::DateTime::UNIX_EPOCH,
            permissions: grant.permissions.iter().map(|permission| Effective {
                permission: permission.clone(),
                through: vec!["x".to_owned()],
            }).collect(),
        }).collect();
        let verdict = explain(&holdings, resource, action, &context);
        prop_assert_eq!(verdict.allowed, allows(&held, resource, action, &context));
        prop_assert_eq!(verdict.allowed, verdict.findings.iter().any(|finding| finding.bar.is_none()));
        prop_assert_eq!(holdings.iter().map(Holding::grant).collect::<Vec<_>>(), held);
    }
}
