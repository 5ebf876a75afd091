//! Every event that was ever released tells what was before and after, and no secret.

use std::path::Path;

use chrono::DateTime;
use domain::envelope::Metadata;
use domain::fact::StoredEvent;
use serde_json::json;
use uuid::Uuid;

use super::story::{self, Change, Told};
use super::*;

fn recorded(aggregate_type: &str, event_type: &str, payload: Value) -> Recorded {
    recorded_as("1", aggregate_type, event_type, payload)
}

fn recorded_as(version: &str, aggregate_type: &str, event_type: &str, payload: Value) -> Recorded {
    let event = StoredEvent {
        position: 1,
        event_id: EventId(Uuid::from_u128(1)),
        recorded_at: DateTime::UNIX_EPOCH,
        team_id: None,
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: Uuid::from_u128(2).to_string(),
        sequence: 1,
        event_type: event_type.to_owned(),
        event_version: version.to_owned(),
        payload: payload.to_string().into(),
        metadata: Metadata::default(),
    };
    event.read().unwrap()
}

fn goldens() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files
        .map(|bytes| {
            let golden: Value = serde_json::from_slice(&bytes).unwrap();
            let text = |field: &str| golden[field].as_str().unwrap().to_owned();
            let (kind, event_type) = (text("aggregate_type"), text("event_type"));
            recorded_as(&text("event_version"), &kind, &event_type, golden["payload"].clone())
        })
        .collect()
}

/// Before and after, when this was known before.
fn told(event: &Recorded, known: Value) -> (Value, Value) {
    told_of(event, &event.facts[0], known)
}

/// As `told`, of one of the event's facts.
fn told_of(event: &Recorded, fact: &Fact, known: Value) -> (Value, Value) {
    let Value::Object(known) = known else { panic!("an object") };
    let payload = match &event.facts {
        Present::Written(_) => serde_json::from_str(&event.payload).unwrap(),
        Present::Upcast(_) => fact.payload(),
    };
    let change = story::part(fact).map(|(_, change)| change);
    let told = story::told(fact, payload);
    let (before, after) = story::before_and_after(told, change, &known);
    (before.unwrap_or_default(), after.unwrap_or_default())
}

#[test]
fn no_event_shows_a_ciphertext_or_the_hash_of_a_secret() {
    let goldens = goldens();
    assert!(goldens.len() > 50);
    for event in goldens {
        let tales = event.facts.iter().map(|fact| told_of(&event, fact, json!({})));
        let shown: String = tales.map(|(before, after)| format!("{before}{after}")).collect();
        for secret in ["\"data\"", "\"hash\"", "token_hash", "\"token\"", "AQIDBAUGBwgJCgsM", "\"mark\""] {
            assert!(!shown.contains(secret), "{}: {shown}", event.event_type);
        }
    }
}

#[test]
fn whatever_changes_or_ends_something_tells_what_it_was() {
    // These begin something, or change nothing that is kept.
    let beginnings = [
        "user.registered",
        "user.signed_in",
        "user.token_created",
        "user.password_changed",
        "user.second_factor_enabled",
        "user.second_factor_disabled",
        "user.recovery_code_used",
        "user.disabled",
        "team.created",
        "team.member_added",
        "team.member_invited",
        "team.installation_connected",
        "project.created",
        "project.environment_created",
        "project.token_created",
        "project.env_vars_revealed",
        "project.preview_approved",
        "project.push_hook_created",
        "endpoint.created",
        "endpoint.pinged",
        "endpoint.redelivery_requested",
        "endpoint.replay_requested",
        "role.created",
        "role.assigned",
        "build.requested",
        "deployment.requested",
        "access.command_denied",
        "access.sign_in_failed",
        "access.signature_refused",
        "access.audit_exported",
        "access.secrets_exported",
        "access.telemetry_exported",
        "access.suppressed",
    ];
    let known = json!({
        "first_name": { "fingerprint": "a" }, "team_id": "t", "project_id": "p", "name": "old", "status": "old",
        "role": "viewer", "phase": "cloning", "commit": "c", "prefix": "ma_Ab12", "expires_at": "2029-01-01T00:00:00Z",
        "secret": { "fingerprint": "a" }, "addresses": ["172.18.0.2:4111"],
    });
    for event in goldens() {
        let (before, after) = told(&event, known.clone());
        let is_operation = event.aggregate_type == "operation";
        let begins = is_operation || beginnings.contains(&event.event_type.as_str());
        // A phase or a commit is new to a build each time; its status is what was before.
        let adds = [
            "build.phase_entered",
            "build.commit_resolved",
            "build.cancel_requested",
            "build.artifact_pruned",
        ];
        let adds = adds.contains(&event.event_type.as_str());
        assert!(begins || adds || before != Value::Null, "{}: {after}", event.event_type);
        let is_over = ["deleted", "revoked", "removed", "expired", "unassigned", "signed_out"];
        if is_over.iter().any(|word| event.event_type.ends_with(word)) {
            assert_eq!(after, Value::Null, "{}", event.event_type);
        }
    }
}

#[test]
fn a_variable_looks_the_same_before_and_after() {
    let sealed = json!({ "id": Uuid::nil(), "key": "system", "data": "AAAA", "mark": "m1" });
    let old = json!({
        "key": "K", "value_id": Uuid::nil(), "mark": "m0", "sensitive": false, "availability": "runtime"
    });
    let set = json!({
        "type": "project.env_var_set", "key": "K", "value": sealed, "sensitive": true, "availability": "both",
        "old": old,
    });
    let (before, after) = told(&recorded("project", "project.env_var_set", set), json!({}));
    let variable = |mark: &str, sensitive: bool, availability: &str| {
        json!({
            "key": "K", "value": { "fingerprint": mark }, "sensitive": sensitive, "availability": availability
        })
    };
    assert_eq!((before, after), (variable("m0", false, "runtime"), variable("m1", true, "both")));
}

#[test]
fn what_is_known_of_a_part_is_what_was_last_shown_of_it() {
    let fields = |value: Value| value.as_object().cloned().unwrap();
    let told = || Told { before: Fields::new(), after: fields(json!({ "b": 2 })) };
    let known = fields(json!({ "a": 1, "b": 1 }));
    let ends = |change| story::before_and_after(told(), Some(change), &known);
    assert_eq!(ends(Change::Set), (Some(json!({ "a": 1, "b": 1 })), Some(json!({ "b": 2 }))));
    assert_eq!(ends(Change::Merge), (Some(json!({ "b": 1 })), Some(json!({ "b": 2 }))));
    assert_eq!(ends(Change::End), (Some(json!({ "a": 1, "b": 1 })), Some(json!({ "b": 2 }))));
    assert_eq!(ends(Change::Remove), (Some(json!({ "a": 1, "b": 2 })), None));
}

#[test]
fn the_row_of_an_event_with_several_facts_tells_each_of_them() {
    let project_id = Some(ProjectId(Uuid::from_u128(7)));
    let one = || Tale { project_id: None, before: None, after: Some(json!({ "name": "a" })) };
    let other =
        || Tale { project_id, before: Some(json!({ "name": "b" })), after: Some(json!({ "name": "c" })) };
    assert_eq!(Tale::of_all(vec![]), Tale::default());
    assert_eq!(Tale::of_all(vec![other()]), other());
    let both = Tale {
        project_id,
        before: Some(json!({ "2": { "name": "b" } })),
        after: Some(json!({ "1": { "name": "a" }, "2": { "name": "c" } })),
    };
    assert_eq!(Tale::of_all(vec![one(), other()]), both);
}
