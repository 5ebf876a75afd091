use uuid::Uuid;

use super::*;

fn team(n: u128) -> TeamId {
    TeamId(Uuid::from_u128(n))
}

fn grant(role: BuiltinRole, scope: Scope) -> Vec<Grant> {
    vec![Grant { scope, permissions: role.permissions() }]
}

/// Letters of what a role may do to a resource, in the order CRUDX.
fn letters(role: BuiltinRole, resource: Resource) -> String {
    let grants = grant(role, Scope::Global);
    [
        (Action::Create, 'C'),
        (Action::Read, 'R'),
        (Action::Update, 'U'),
        (Action::Delete, 'D'),
        (Action::Execute, 'X'),
    ]
    .into_iter()
    .filter(|(action, _)| allows(&grants, resource, *action, &Context::default()))
    .map(|(_, letter)| letter)
    .collect()
}

#[test]
fn the_matrix_is_that_of_the_design() {
    use BuiltinRole::*;
    use Resource as On;
    // team, members, billing, project, env vars, build, logs, audit
    let matrix = [
        (TeamOwner, ["CRUD", "CRUD", "CRUD", "CRUD", "CRUD", "CRUDX", "R", "R"]),
        (TeamAdmin, ["RU", "CRUD", "R", "CRUD", "CRUD", "CRUDX", "R", "R"]),
        (TeamDeveloper, ["R", "R", "", "CRU", "CRUD", "CRX", "R", ""]),
        (TeamViewer, ["R", "R", "", "R", "", "R", "R", ""]),
        (ProjectAdmin, ["", "", "", "RUD", "CRUD", "CRUDX", "R", "R"]),
        (ProjectDeployer, ["", "", "", "R", "", "CRX", "R", ""]),
        (ProjectViewer, ["", "", "", "R", "", "R", "R", ""]),
    ];
    let columns = [
        On::Team,
        On::TeamMembers,
        On::TeamBilling,
        On::Project,
        On::ProjectEnvVars,
        On::Build,
        On::Logs,
        On::Audit,
    ];
    for (role, row) in matrix {
        for (resource, expected) in columns.into_iter().zip(row) {
            assert_eq!(letters(role, resource), expected, "{} on {resource}", role.as_str());
        }
    }
}

#[test]
fn a_team_role_holds_for_its_projects_and_nowhere_else() {
    let grants = grant(BuiltinRole::TeamOwner, Scope::Team { team_id: team(1) });
    let inside = Context {
        team_id: Some(team(1)),
        project_id: Some(ProjectId(Uuid::from_u128(5))),
        ..Context::default()
    };
    let outside = Context { team_id: Some(team(2)), ..inside.clone() };
    assert!(allows(&grants, Resource::Project, Action::Delete, &inside));
    assert!(!allows(&grants, Resource::Project, Action::Read, &outside));
    assert!(!allows(&grants, Resource::Project, Action::Read, &Context::default()));
}

#[test]
fn manage_implies_the_other_five_and_the_star_everything() {
    let with = |resource, action| {
        vec![Grant { scope: Scope::Global, permissions: vec![Permission::new(resource, action)] }]
    };
    let nowhere = Context::default();
    assert!(allows(&with(Resource::Build, Action::Manage), Resource::Build, Action::Execute, &nowhere));
    assert!(!allows(&with(Resource::Build, Action::Manage), Resource::Project, Action::Read, &nowhere));
    assert!(!allows(&with(Resource::Build, Action::Execute), Resource::Build, Action::Manage, &nowhere));
    assert!(allows(&with(Resource::Any, Action::Any), Resource::Audit, Action::Manage, &nowhere));
}

#[test]
fn a_missing_field_satisfies_only_neq_nin_and_exists_false() {
    let holds = |operator, value, context: &Context| {
        Condition { field: "branch".into(), operator, value }.holds(context)
    };
    let text = || ConditionValue::Text("main".into());
    let list = || ConditionValue::List(vec!["main".into()]);
    let on = |branch: &str| Context { branch: Some(branch.into()), ..Context::default() };
    let missing = Context::default();
    assert!(holds(Operator::Eq, text(), &on("main")) && !holds(Operator::Eq, text(), &missing));
    assert!(holds(Operator::Neq, text(), &missing) && !holds(Operator::Neq, text(), &on("main")));
    assert!(holds(Operator::In, list(), &on("main")) && !holds(Operator::In, list(), &missing));
    assert!(holds(Operator::Nin, list(), &missing) && !holds(Operator::Nin, list(), &on("main")));
    assert!(holds(Operator::Exists, ConditionValue::Flag(true), &on("x")));
    assert!(holds(Operator::Exists, ConditionValue::Flag(false), &missing));
    assert!(!holds(Operator::Exists, ConditionValue::Flag(true), &missing));
    assert!(!holds(Operator::Eq, list(), &on("main")), "a condition that makes no sense grants nothing");
}

#[test]
fn token_scopes_stay_below_people() {
    use crate::project::TokenScope;
    let deploy = TokenScope::Deploy.permissions();
    assert!(deploy.iter().all(|p| matches!(p.resource, Resource::Project | Resource::Build)));
    assert!(!deploy.iter().any(|p| p.action == Action::Delete));
    assert!(TokenScope::TelemetryWrite.permissions().is_empty());
}

#[test]
fn names_are_stored_as_they_are_shown() {
    for role in BuiltinRole::ALL {
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        assert_eq!(BuiltinRole::from_stored(role.as_str()), Some(role));
    }
    for resource in Resource::ALL {
        assert_eq!(serde_json::to_value(resource).unwrap(), resource.as_str());
    }
}
