//! The records of a file. Their order and the order of their fields are the format.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Trailer;

/// One line.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Record<'a> {
    Header(Header),
    #[serde(borrow)]
    Event(Box<Event<'a>>),
    Receipt(Receipt),
    Key(Key),
    Process(Process),
    Work(Box<Work>),
    Trailer(Trailer),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
}

/// A row of the log. Times are texts with microseconds: as exact as they are stored.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Event<'a> {
    pub(super) position: i64,
    pub(super) event_id: String,
    pub(super) recorded_at: String,
    pub(super) team_id: Option<String>,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<&'a RawValue>,
    /// Instead of `payload` when that, as it is stored, does not fit on a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_text: Option<String>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata_text: Option<String>,
}

/// An idempotency key with what it made.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Receipt {
    pub(super) scope: String,
    pub(super) key: String,
    pub(super) request_hash: String,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) version: i64,
    pub(super) position: i64,
    pub(super) recorded_at: String,
}

/// A data key, wrapped by the master key; without `wrapped` it was destroyed.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Key {
    pub(super) owner: String,
    pub(super) provider: String,
    /// Hex.
    pub(super) wrapped: Option<String>,
    pub(super) created_at: String,
    pub(super) destroyed_at: Option<String>,
}

/// How far a process has turned events into work. Without it, everything that ever happened would be done again.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) version: i32,
    pub(super) position: i64,
}

/// Work that is not done.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Work {
    pub(super) id: String,
    pub(super) process: String,
    pub(super) key: String,
    pub(super) lane: String,
    /// JSON as a text.
    pub(super) payload: String,
    pub(super) run_at: String,
    pub(super) attempts: i32,
    pub(super) cause_event: String,
    pub(super) cause_position: i64,
    pub(super) correlation: String,
    pub(super) created_at: String,
}

/// Stored JSON as a part of its line, or as a text when it does not fit there byte by byte: a line has no line
/// breaks, and no reader keeps what is around a value.
pub(super) fn embed(json: &str) -> (Option<&RawValue>, Option<String>) {
    let fits = json.trim() == json && !json.contains(['\n', '\r']);
    match serde_json::from_str(json) {
        Ok(raw) if fits => (Some(raw), None),
        _ => (None, Some(json.to_owned())),
    }
}

/// What `embed` was given.
pub(super) fn extract<'a>(raw: Option<&'a RawValue>, text: Option<&'a str>) -> Option<&'a str> {
    match (raw, text) {
        (Some(raw), None) => Some(raw.get()),
        (None, Some(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_json_comes_back_byte_by_byte() {
        for json in [
            r#"{"a":1}"#,
            r#"{ "b" : [1.0, 1e5,  "\u00e4" ], "a":1, "a":2 }"#,
            "{\n  \"a\": 1\n}",
            " {\"a\":1}",
            "{\"a\":1} ",
            "null",
            r#""text""#,
        ] {
            let (raw, text) = embed(json);
            assert_eq!(extract(raw, text.as_deref()), Some(json));
            assert!(raw.is_none_or(|raw| !raw.get().contains('\n')), "{json}");
        }
        assert_eq!(extract(None, None), None);
    }
}
