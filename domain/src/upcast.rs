//! Brings stored events of earlier versions to the present. Pure functions, kept for ever.
//!
//! Every read path goes through here: aggregates, feed, views of the past. What is stored is never changed by it:
//! exports, the ledger and an event's receipt are of the row as it was written.
//!
//! To release a new version of an event: its golden JSON, a step here, and a higher version of each read model and
//! of each aggregate state (`STATE_VERSION`) that the step makes other than it was. SQL that looks into stored
//! payloads (`projections::log`) sees what was written and has to know both.

use std::ops::Deref;
use std::{option, vec};

use serde_json::Value;

/// One step: events of `event_type` at version `from` become others, of the same aggregate.
#[derive(Debug)]
pub struct Upcast {
    /// The type that is stored: `project.created`.
    pub event_type: &'static str,
    /// The version that is stored.
    pub from: &'static str,
    /// What a payload says in later versions: one part, several in their order, or none when it says nothing any
    /// more. Parts may themselves be of versions from which steps lead on, never back.
    pub change: fn(Value) -> Vec<Part>,
}

/// One of the events that a stored one becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    event_type: &'static str,
    version: &'static str,
    payload: Value,
}

/// Every step there has ever been; empty while every event is in its first version.
pub const UPCASTS: &[Upcast] = &[];

/// What a row of the log says today. A slice of that: of one, but for what was split up or is no more.
#[derive(Clone, Debug, PartialEq)]
pub enum Present<T> {
    /// The row is of the present version.
    Written(T),
    /// The row is of an earlier version.
    Upcast(Vec<T>),
}

impl Part {
    /// An event of this type and version; the payload's `type` is set accordingly.
    pub fn new(event_type: &'static str, version: &'static str, mut payload: Value) -> Self {
        if let Value::Object(fields) = &mut payload {
            fields.insert("type".to_owned(), event_type.into());
        }
        Self { event_type, version, payload }
    }
}

impl<T> Present<T> {
    /// The same of something else.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> Present<U> {
        match self {
            Self::Written(one) => Present::Written(change(one)),
            Self::Upcast(parts) => Present::Upcast(parts.into_iter().map(change).collect()),
        }
    }
}

impl<T> Deref for Present<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Written(one) => std::slice::from_ref(one),
            Self::Upcast(parts) => parts,
        }
    }
}

impl<T> IntoIterator for Present<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<option::IntoIter<T>, vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, parts) = match self {
            Self::Written(one) => (Some(one), vec![]),
            Self::Upcast(parts) => (None, parts),
        };
        one.into_iter().chain(parts)
    }
}

impl<'a, T> IntoIterator for &'a Present<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Whether events of this type and version are read as they are.
pub(crate) fn is_present(steps: &[Upcast], event_type: &str, version: &str) -> bool {
    step(steps, event_type, version).is_none()
}

/// The payloads of what an event says today, in their order.
pub(crate) fn upcast(steps: &[Upcast], event_type: &str, version: &str, payload: Value) -> Vec<Value> {
    match step(steps, event_type, version) {
        None => vec![payload],
        Some(step) => (step.change)(payload)
            .into_iter()
            .flat_map(|part| upcast(steps, part.event_type, part.version, part.payload))
            .collect(),
    }
}

fn step<'a>(steps: &'a [Upcast], event_type: &str, version: &str) -> Option<&'a Upcast> {
    steps.iter().find(|step| step.event_type == event_type && step.from == version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `a.b` 1 → 2 → `a.c` 1 and `a.d` 1; `a.c` 1 → 2 twice; `a.gone` 1 → nothing.
    const STEPS: &[Upcast] = &[
        Upcast {
            event_type: "a.b",
            from: "1",
            change: |old| vec![Part::new("a.b", "2", json!({ "n": old["x"] }))],
        },
        Upcast {
            event_type: "a.b",
            from: "2",
            change: |old| {
                vec![Part::new("a.c", "1", old.clone()), Part::new("a.d", "1", json!({ "last": old["n"] }))]
            },
        },
        Upcast {
            event_type: "a.c",
            from: "1",
            change: |old| {
                let half = |half: &str| Part::new("a.c", "2", json!({ "n": old["n"], "half": half }));
                vec![half("left"), half("right")]
            },
        },
        Upcast { event_type: "a.gone", from: "1", change: |_| vec![] },
    ];

    #[test]
    fn steps_are_walked_to_the_last_version_of_each_part_in_order() {
        assert_eq!(
            upcast(STEPS, "a.b", "1", json!({ "type": "a.b", "x": 7 })),
            [
                json!({ "type": "a.c", "n": 7, "half": "left" }),
                json!({ "type": "a.c", "n": 7, "half": "right" }),
                json!({ "type": "a.d", "last": 7 }),
            ]
        );
    }

    #[test]
    fn what_no_step_begins_with_stays_as_it_is() {
        for (event_type, version) in [("a.b", "3"), ("a.c", "2"), ("a.d", "1"), ("b.b", "1")] {
            assert!(is_present(STEPS, event_type, version));
            assert_eq!(upcast(STEPS, event_type, version, json!({ "x": 1 })), [json!({ "x": 1 })]);
        }
        assert!(!is_present(STEPS, "a.b", "1"));
    }

    #[test]
    fn an_event_may_say_nothing_any_more() {
        assert!(!is_present(STEPS, "a.gone", "1"));
        assert_eq!(upcast(STEPS, "a.gone", "1", json!({})), [json!(null); 0]);
    }
}
