use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::policy::{Action, Condition, ConditionValue, Operator, Resource};

fn id(n: u128) -> RoleId {
    RoleId(Uuid::from_u128(n))
}

fn role(parents: &[&str]) -> RoleDefinition {
    RoleDefinition {
        name: "x".parse().unwrap(),
        description: None,
        permissions: vec![Permission::new(Resource::Audit, Action::Read)],
        inherits: parents.iter().map(|parent| (*parent).to_owned()).collect(),
    }
}

fn on(parents: &[u128]) -> RoleDefinition {
    let parents: Vec<String> = parents.iter().map(|n| id(*n).to_string()).collect();
    role(&parents.iter().map(String::as_str).collect::<Vec<_>>())
}

fn book(roles: &[(u128, RoleDefinition)]) -> Result<RoleBook, RoleError> {
    let empty = RoleBook::new(TeamId(Uuid::from_u128(9)));
    roles.iter().try_fold(empty, |book, (n, role)| book.with(id(*n), role.clone()))
}

#[test]
fn a_cycle_is_refused_however_long() {
    assert_eq!(book(&[(1, on(&[1]))]).unwrap_err(), RoleError::Cycle);
    let known = book(&[(1, on(&[])), (2, on(&[1])), (3, on(&[2]))]).unwrap();
    assert_eq!(known.with(id(1), on(&[3])).unwrap_err(), RoleError::Cycle);
    assert!(known.with(id(3), on(&[1, 2])).is_ok(), "two ways to the same role are no cycle");
}

#[test]
fn what_is_not_there_cannot_be_inherited() {
    for parent in ["team:nobody", "", &id(7).to_string()] {
        let refused = book(&[(1, role(&[parent]))]).unwrap_err();
        assert_eq!(refused, RoleError::UnknownParent(parent.to_owned()));
    }
    assert!(book(&[(1, role(&["team:viewer", "project:admin"]))]).is_ok());
}

#[test]
fn roles_stand_on_each_other_eight_deep_also_those_above_the_one_that_changes() {
    let chain: Vec<_> = (1..=8).map(|n| (n, if n == 1 { on(&[]) } else { on(&[n - 1]) })).collect();
    let known = book(&chain).unwrap();
    assert_eq!(known.effective(&id(8).to_string()).len(), 8, "and all of it counts");
    assert_eq!(known.with(id(9), on(&[8])).unwrap_err(), RoleError::TooDeep);
    assert_eq!(known.with(id(1), role(&["team:viewer"])).unwrap_err(), RoleError::TooDeep);
}

#[test]
fn a_role_that_others_stand_on_stays() {
    let known = book(&[(1, on(&[])), (2, on(&[1]))]).unwrap();
    assert_eq!(known.without(id(1)).unwrap_err(), RoleError::Inherited);
    assert!(known.without(id(2)).unwrap().without(id(1)).is_ok());
}

#[test]
fn a_condition_that_could_never_be_decided_is_refused() {
    let with = |field: &str, operator, value| {
        let condition = Condition { field: field.to_owned(), operator, value };
        let permission =
            Permission { conditions: vec![condition], ..Permission::new(Resource::Build, Action::Read) };
        book(&[(1, RoleDefinition { permissions: vec![permission], ..role(&[]) })])
    };
    let text = || ConditionValue::Text("main".to_owned());
    let list = || ConditionValue::List(vec!["main".to_owned()]);
    assert!(with("branch", Operator::Eq, text()).is_ok());
    assert!(with("branch", Operator::Neq, text()).is_ok());
    assert!(with("branch", Operator::In, list()).is_ok());
    assert!(with("branch", Operator::Nin, list()).is_ok());
    assert!(with("branch", Operator::Exists, ConditionValue::Flag(true)).is_ok());
    for bad in [
        with("colour", Operator::Eq, text()),
        with("branch", Operator::Eq, list()),
        with("branch", Operator::In, text()),
        with("branch", Operator::Exists, text()),
    ] {
        assert!(matches!(bad.unwrap_err(), RoleError::BadCondition(_)));
    }
    let long = ConditionValue::List(vec!["x".to_owned(); 101]);
    assert!(matches!(with("branch", Operator::In, long).unwrap_err(), RoleError::TooMany(_)));
}

#[test]
fn a_permission_tells_the_way_it_came() {
    let known = book(&[(1, role(&["project:viewer"])), (2, on(&[1]))]).unwrap();
    let (top, below) = (id(2).to_string(), id(1).to_string());
    let all = known.effective(&top);
    let of_build = all.iter().find(|it| it.permission.resource == Resource::Build).unwrap();
    assert_eq!(of_build.through, [top, below, "project:viewer".to_owned()]);
    assert_eq!(known.effective("unknown"), vec![]);
}

#[test]
fn a_role_that_is_inherited_a_thousand_times_is_looked_at_once_and_a_circle_ends() {
    let thousand = |name: &str| role(&vec![name; 1000]);
    let known = BTreeMap::from([
        ("a".to_owned(), thousand("b")),
        ("b".to_owned(), thousand("c")),
        ("c".to_owned(), thousand("a")),
    ]);
    assert_eq!(effective("a", |name| known.get(name)).len(), 3);
}

proptest! {
    /// Whatever is written in whatever order: what was taken never has a circle, and is no deeper than the bound.
    #[test]
    fn no_order_of_changes_makes_a_circle(
        changes in prop::collection::vec((1..6_u128, prop::collection::vec(1..6_u128, 0..3)), 0..30)
    ) {
        let mut known = book(&[]).unwrap();
        for (n, parents) in changes {
            if let Ok(next) = known.with(id(n), on(&parents)) {
                known = next;
            }
            for id in known.roles.keys() {
                let mut above: BTreeSet<RoleId> = BTreeSet::from([*id]);
                for round in 0.. {
                    let next: BTreeSet<RoleId> =
                        above.iter().flat_map(|id| &known.roles[id].inherits).map(|id| id.parse().unwrap()).collect();
                    prop_assert!(!next.contains(id), "it stands on itself");
                    prop_assert!(round < MAX_DEPTH, "it is too deep");
                    if next.is_empty() {
                        break;
                    }
                    above = next;
                }
            }
        }
    }
}
