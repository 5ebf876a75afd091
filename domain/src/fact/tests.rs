use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::upcast::Part;

/// One event of one version as it was first released. Never edited.
#[derive(Deserialize)]
pub(super) struct Golden {
    pub(super) aggregate_type: String,
    pub(super) event_type: String,
    event_version: String,
    pub(super) payload: Value,
}

#[expect(clippy::disallowed_methods, reason = "the released events are files")]
pub(super) fn goldens() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The same at every time, also where a type and version has several.
    files.sort();
    files.iter().map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()).collect()
}

pub(super) fn stored(golden: &Golden) -> StoredEvent {
    StoredEvent {
        position: 1,
        event_id: EventId(Uuid::from_u128(1)),
        recorded_at: DateTime::UNIX_EPOCH,
        team_id: None,
        aggregate_type: golden.aggregate_type.clone(),
        aggregate_id: Uuid::from_u128(2).to_string(),
        sequence: 1,
        event_type: golden.event_type.clone(),
        event_version: golden.event_version.clone(),
        payload: golden.payload.to_string().into(),
        metadata: Metadata::default(),
    }
}

/// Type and version as this version would write them.
fn written(fact: &Fact) -> (String, String) {
    fn names(event: &impl DomainEvent) -> (String, String) {
        (event.event_type(), event.event_version())
    }
    match fact {
        Fact::User(_, event) => names(event),
        Fact::Team(_, event) => names(event),
        Fact::Project(_, event) => names(event),
        Fact::Build(_, event) => names(event),
        Fact::Deployment(_, event) => names(event),
        Fact::Role(_, event) => names(event),
        Fact::RoleAssignment(_, event) => names(event),
        Fact::Access(_, event) => names(event),
        Fact::Operation(_, event) => names(event),
        Fact::Endpoint(_, event) => names(event),
    }
}

/// The types of an aggregate's events: what serde would accept as `type`.
fn types_of<A: Stored>() -> BTreeSet<String> {
    let refusal =
        serde_json::from_value::<A::Event>(serde_json::json!({ "type": "" })).unwrap_err().to_string();
    refusal.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_event_ever_released_is_still_read_and_written_the_same() {
    for golden in goldens() {
        let recorded = stored(&golden).read().unwrap_or_else(|error| panic!("{error}"));
        for fact in &recorded.facts {
            let (event_type, version) = written(fact);
            assert_eq!(fact.payload()["type"], event_type.as_str());
            if (&event_type, &version) == (&golden.event_type, &golden.event_version) {
                assert_eq!(fact.payload(), golden.payload, "{event_type}");
            }
        }
        if let Present::Written(fact) = &recorded.facts {
            let present = (golden.event_type, golden.event_version);
            assert_eq!(written(fact), present, "an older version needs a step that leads on from it");
        }
    }
}

#[test]
fn every_event_has_a_golden_json() {
    let known: BTreeSet<String> = goldens().into_iter().map(|golden| golden.event_type).collect();
    let mut declared = BTreeSet::new();
    declared.extend(types_of::<User>());
    declared.extend(types_of::<Team>());
    declared.extend(types_of::<Project>());
    declared.extend(types_of::<Build>());
    declared.extend(types_of::<Deployment>());
    declared.extend(types_of::<Role>());
    declared.extend(types_of::<RoleAssignment>());
    declared.extend(types_of::<Access>());
    declared.extend(types_of::<Operation>());
    declared.extend(types_of::<Endpoint>());
    assert!(declared.len() > 50, "serde's refusal names all of them: {declared:?}");
    let missing: Vec<_> = declared.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let listed: BTreeSet<String> = event_types().map(str::to_owned).collect();
    assert_eq!(listed, declared, "fact/types.rs lists them");
}

#[test]
fn an_unknown_event_is_named() {
    let row =
        StoredEvent { event_type: "project.vanished".into(), payload: "{}".into(), ..stored(&goldens()[0]) };
    let error = row.read().unwrap_err().to_string();
    assert!(error.contains("project.vanished") && error.contains("position 1"), "{error}");
    assert!(error.contains(&EventId(Uuid::from_u128(1)).to_string()), "{error}");
}

/// Registering said in one event what is said in two today; signing out says nothing any more.
const STEPS: &[Upcast] = &[
    Upcast {
        event_type: "user.registered",
        from: "0",
        change: |old| {
            let (team, mut registered) = (old["team_id"].clone(), old);
            registered.as_object_mut().unwrap().remove("team_id");
            let switched = serde_json::json!({ "team_id": team });
            vec![
                Part::new("user.registered", "1", registered),
                Part::new("user.active_team_switched", "1", switched),
            ]
        },
    },
    Upcast { event_type: "user.signed_out", from: "0", change: |_| vec![] },
    Upcast {
        event_type: "user.password_changed",
        from: "0",
        change: |old| {
            vec![Part::new("user.password_changed", "1", old.clone()), Part::new("user.vanished", "1", old)]
        },
    },
];

fn user(event_type: &str, payload: Value) -> StoredEvent {
    let golden = goldens().into_iter().find(|golden| golden.event_type == event_type).unwrap();
    let mut all = golden.payload.clone();
    all.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
    StoredEvent { event_version: "0".into(), payload: all.to_string().into(), ..stored(&golden) }
}

#[test]
fn an_earlier_version_is_read_as_all_that_it_says_today_by_feed_and_aggregate() {
    let team = Uuid::from_u128(7).to_string();
    let row = user("user.registered", serde_json::json!({ "team_id": team }));
    let events = row.events_with::<User>(STEPS).unwrap();
    let [UserEvent::UserRegistered { .. }, UserEvent::UserActiveTeamSwitched { team_id: Some(team_id) }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(team_id.to_string(), team);
    let mut aggregate = User::default();
    events.clone().into_iter().for_each(|event| aggregate.apply(event));

    let (payload, id) = (row.payload.clone(), row.aggregate_id.parse().unwrap());
    let recorded = row.read_with(STEPS).unwrap();
    assert_eq!(
        (recorded.event_type.as_str(), &recorded.payload),
        ("user.registered", &payload),
        "as written"
    );
    assert_eq!(recorded.facts, events.map(|event| User::fact(id, event)));
    let state = serde_json::to_value(&aggregate).unwrap().to_string();
    assert!(state.contains(&team), "the aggregate has taken both in: {state}");
}

#[test]
fn an_event_that_says_nothing_any_more_is_a_row_without_facts() {
    let row = user("user.signed_out", serde_json::json!({}));
    assert!(row.events_with::<User>(STEPS).unwrap().is_empty());
    let recorded = row.read_with(STEPS).unwrap();
    assert_eq!((recorded.position, recorded.facts.len()), (1, 0));
}

#[test]
fn a_part_that_nobody_knows_makes_the_whole_row_unreadable_and_names_it() {
    let row = user("user.password_changed", serde_json::json!({}));
    let error = row.read_with(STEPS).unwrap_err();
    assert_eq!((error.event_id, error.position), (EventId(Uuid::from_u128(1)), 1));
    assert!(error.reason.contains("user.vanished"), "{error}");
}

#[test]
fn a_row_that_is_one_fact_takes_no_more_memory_than_its_fact() {
    assert_eq!(size_of::<Present<Fact>>(), size_of::<Fact>());
}
