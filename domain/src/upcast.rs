//! Brings stored payloads of earlier versions to the present one. Pure functions, kept for ever.
//!
//! Every read path goes through here: aggregates, feed, export.

use serde_json::Value;

/// One step: events of `event_type` at `from` become those of the next version.
struct Upcast {
    event_type: &'static str,
    from: &'static str,
    to: &'static str,
    change: fn(Value) -> Value,
}

/// Every step there has ever been; empty while every event is in its first version.
const UPCASTS: &[Upcast] = &[];

/// Whether events of this type and version are read as they are.
pub fn is_present(event_type: &str, version: &str) -> bool {
    !UPCASTS.iter().any(|step| step.event_type == event_type && step.from == version)
}

/// The payload in its present version.
pub fn upcast(event_type: &str, version: &str, payload: Value) -> Value {
    walk(UPCASTS, event_type, version, payload)
}

fn walk(steps: &[Upcast], event_type: &str, version: &str, mut payload: Value) -> Value {
    let mut version = version;
    while let Some(step) = steps.iter().find(|step| step.event_type == event_type && step.from == version) {
        payload = (step.change)(payload);
        version = step.to;
    }
    payload
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_walked_to_the_last_version_and_touch_only_their_type() {
        let steps = [
            Upcast { event_type: "a.b", from: "1", to: "2", change: |_| json!({ "two": true }) },
            Upcast { event_type: "a.b", from: "2", to: "3", change: |old| json!({ "three": old["two"] }) },
        ];
        assert_eq!(walk(&steps, "a.b", "1", json!({})), json!({ "three": true }));
        assert_eq!(walk(&steps, "a.b", "3", json!({ "x": 1 })), json!({ "x": 1 }));
        assert_eq!(walk(&steps, "a.c", "1", json!({ "x": 1 })), json!({ "x": 1 }));
    }
}
