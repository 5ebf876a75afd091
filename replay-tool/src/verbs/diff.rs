//! `diff`: what changed in one aggregate between two moments.

use clap::Args;
use domain::fact::StoredEvent;
use serde_json::{Value, json};

use super::history::{Moment, Stream, read, state};
use crate::failure::{Failure, Outcome};
use crate::tool::Tool;

#[derive(Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    stream: Stream,
    /// From when: a time (RFC 3339) or a position of the log.
    #[arg(long)]
    from: Moment,
    /// Until when; now without it.
    #[arg(long)]
    to: Option<Moment>,
}

/// A place in a state, and what stood there.
#[derive(Debug, PartialEq)]
struct Change {
    path: String,
    before: Value,
    after: Value,
}

impl Diff {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let pool = tool.pool().await?;
        let events = read(pool, &self.stream).await?;
        let from = self.from.position(pool).await?;
        let to = match self.to {
            Some(to) => to.position(pool).await?,
            None => i64::MAX,
        };
        if from > to {
            return Err(Failure::because("--from must not lie after --to"));
        }
        let until = |position: i64| events.partition_point(|event| event.position <= position);
        let (from, to) = (&events[..until(from)], &events[..until(to)]);
        let mut changes = Vec::new();
        compare("", &self.state(from)?, &self.state(to)?, &mut changes);
        let between = &to[from.len()..];
        if tool.json {
            return tool.say("", &as_json(&self.stream, from, to, &changes, between));
        }
        for Change { path, before, after } in &changes {
            tool.say(&format!("{path}: {before} → {after}"), &Value::Null)?;
        }
        for event in between {
            let actor = &event.metadata.envelope().actor;
            let words = format!("{:>8}  {}  {actor}", event.position, event.event_type);
            tool.say(&words, &Value::Null)?;
        }
        Ok(())
    }

    /// Null before there was anything.
    fn state(&self, events: &[StoredEvent]) -> Result<Value, Failure> {
        if events.is_empty() { Ok(Value::Null) } else { state(&self.stream.kind, events) }
    }
}

fn as_json(
    stream: &Stream,
    from: &[StoredEvent],
    to: &[StoredEvent],
    changes: &[Change],
    between: &[StoredEvent],
) -> Value {
    let end = |events: &[StoredEvent]| {
        events.last().map(
            |last| json!({ "version": last.sequence, "position": last.position, "at": last.recorded_at }),
        )
    };
    let change =
        |change: &Change| json!({ "path": change.path, "before": change.before, "after": change.after });
    let event = |event: &StoredEvent| {
        json!({
            "position": event.position,
            "eventId": event.event_id,
            "eventType": event.event_type,
            "actor": event.metadata.envelope().actor,
            "at": event.recorded_at,
        })
    };
    json!({
        "type": stream.kind,
        "id": stream.id,
        "from": end(from),
        "to": end(to),
        "changes": changes.iter().map(change).collect::<Vec<_>>(),
        "events": between.iter().map(event).collect::<Vec<_>>(),
    })
}

/// Objects field by field, all else as a whole.
fn compare(path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    let empty = serde_json::Map::new();
    let fields = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    match (fields(before), fields(after)) {
        // What was nothing, or is nothing any more, differs in each of its fields.
        (None, None) => {}
        (None, Some(_)) if !before.is_null() => {}
        (Some(_), None) if !after.is_null() => {}
        (old, new) => {
            let mut keys = [old.unwrap_or_default(), new.unwrap_or_default()].concat();
            keys.sort();
            keys.dedup();
            let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
            for key in keys {
                let value =
                    |fields: &serde_json::Map<String, Value>| fields.get(&key).cloned().unwrap_or_default();
                compare(&format!("{path}/{key}"), &value(before), &value(after), changes);
            }
            return;
        }
    }
    if before != after {
        changes.push(Change { path: path.to_owned(), before: before.clone(), after: after.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: Value, after: Value) -> Vec<(String, Value, Value)> {
        let mut changes = Vec::new();
        compare("", &before, &after, &mut changes);
        changes.into_iter().map(|change| (change.path, change.before, change.after)).collect()
    }

    #[test]
    fn a_change_is_told_where_it_is() {
        let before = json!({ "name": "a", "same": 1, "list": [1], "deep": { "x": 1, "y": 2 } });
        let after = json!({ "name": "b", "same": 1, "list": [1, 2], "deep": { "x": 1, "z": 3 } });
        assert_eq!(
            told(before.clone(), after),
            [
                ("/deep/y".to_owned(), json!(2), Value::Null),
                ("/deep/z".to_owned(), Value::Null, json!(3)),
                ("/list".to_owned(), json!([1]), json!([1, 2])),
                ("/name".to_owned(), json!("a"), json!("b")),
            ]
        );
        assert_eq!(told(before.clone(), before.clone()), []);
        assert_eq!(
            told(Value::Null, json!({ "name": "a" })),
            [("/name".to_owned(), Value::Null, json!("a"))]
        );
    }
}
