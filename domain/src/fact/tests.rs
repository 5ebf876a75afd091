use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::*;

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
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap())
        .collect()
}

fn stored(golden: &Golden) -> StoredEvent {
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

/// Type and payload as this version would write them.
fn written(fact: Fact) -> (String, String, Value) {
    fn parts<E: DomainEvent>(event: E) -> (String, String, Value) {
        (event.event_type(), event.event_version(), serde_json::to_value(event).unwrap())
    }
    match fact {
        Fact::User(_, event) => parts(event),
        Fact::Team(_, event) => parts(event),
        Fact::Project(_, event) => parts(event),
        Fact::Build(_, event) => parts(event),
        Fact::Deployment(_, event) => parts(event),
        Fact::Role(_, event) => parts(event),
        Fact::RoleAssignment(_, event) => parts(event),
        Fact::Access(_, event) => parts(event),
        Fact::Operation(_, event) => parts(event),
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
        let (event_type, version, payload) = written(recorded.fact);
        assert_eq!(event_type, golden.event_type);
        if version == golden.event_version {
            assert_eq!(payload, golden.payload, "{event_type}");
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
    assert!(declared.len() > 50, "serde's refusal names all of them: {declared:?}");
    assert_eq!(known, declared);
}

#[test]
fn an_unknown_event_is_named() {
    let row =
        StoredEvent { event_type: "project.vanished".into(), payload: "{}".into(), ..stored(&goldens()[0]) };
    let error = row.read().unwrap_err().to_string();
    assert!(error.contains("project.vanished") && error.contains("position 1"), "{error}");
}
