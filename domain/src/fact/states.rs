//! States as snapshots keep them: one file an aggregate and state version, so that a change of what a state holds is
//! not forgotten in `STATE_VERSION`.

use std::path::Path;

use serde_json::Value;

use super::tests::{goldens, stored};
use super::*;

/// The state after every golden event of the aggregate: what takes away first, so that the rest stays.
fn folded<A: Stored>() -> A {
    let mut events: Vec<_> =
        goldens().into_iter().filter(|golden| golden.aggregate_type == A::TYPE).collect();
    let takes_away = |event_type: &str| {
        ["deleted", "removed", "revoked", "unset", "accepted", "erased", "reopened"]
            .iter()
            .any(|end| event_type.ends_with(end))
    };
    events.sort_by_key(|golden| (!takes_away(&golden.event_type), golden.event_type.clone()));
    let mut state = A::default();
    for golden in events {
        stored(&golden).events::<A>().unwrap().into_iter().for_each(|event| state.apply(event));
    }
    state
}

#[expect(clippy::disallowed_methods, reason = "the states are files")]
fn is_kept_as_released<A: Stored>() {
    let name = format!("{}.v{}.json", A::TYPE, A::STATE_VERSION);
    let state = folded::<A>();
    let written = serde_json::to_value(&state).unwrap_or_else(|error| panic!("{name}: {error}"));
    let read: A = serde_json::from_value(written.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(serde_json::to_value(&read).unwrap(), written, "{name} does not survive being a snapshot");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden-states").join(&name);
    let released = std::fs::read(&file).unwrap_or_else(|_| {
        panic!(
            "golden-states/{name} is missing; it holds\n{}",
            serde_json::to_string_pretty(&written).unwrap()
        )
    });
    let released: Value = serde_json::from_slice(&released).unwrap();
    assert_eq!(
        written,
        released,
        "{}'s state has changed: raise its STATE_VERSION and add its file",
        A::TYPE
    );
}

#[test]
fn states_are_kept_as_their_version_was_released() {
    is_kept_as_released::<User>();
    is_kept_as_released::<Team>();
    is_kept_as_released::<Project>();
    is_kept_as_released::<Build>();
    is_kept_as_released::<Deployment>();
    is_kept_as_released::<Role>();
    is_kept_as_released::<RoleAssignment>();
    is_kept_as_released::<Endpoint>();
}
