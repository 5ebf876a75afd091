//! What an event's payload says of before and after, as far as people may see it. Pure.

use serde_json::{Map, Value, json};

/// Fields that stand for a secret or a person without being either; they help nobody who reads the trail.
const HIDDEN: [&str; 3] = ["hash", "token_hash", "email_hash"];

/// Before and after: `old` and `old_*` are what was, the rest is what is from then on.
pub(super) fn before_after(payload: &Value) -> (Option<Value>, Option<Value>) {
    let Value::Object(fields) = payload else { return (None, None) };
    let (mut before, mut after) = (Map::new(), Map::new());
    for (name, value) in fields.iter().filter(|(name, _)| *name != "type" && !HIDDEN.contains(&name.as_str()))
    {
        match name.strip_prefix("old_") {
            Some(name) => before.insert(name.to_owned(), shown(value)),
            None if name != "old" => after.insert(name.clone(), shown(value)),
            None => None,
        };
    }
    match fields.get("old").map(shown) {
        // Under the name of what has taken its place, so that the two can be compared.
        Some(Value::Object(old)) => match sole_object(fields) {
            Some(name) => drop(before.insert(name.clone(), Value::Object(old))),
            None => before.extend(old),
        },
        Some(Value::Null) | None => {}
        Some(old) => drop(before.insert("old".to_owned(), old)),
    }
    (present(before), present(after))
}

/// The one field, besides `old`, that holds an object which is not a sealed value.
fn sole_object(fields: &Map<String, Value>) -> Option<&String> {
    let mut objects = fields.iter().filter(|(name, value)| {
        *name != "old" && value.as_object().is_some_and(|object| mark(object).is_none())
    });
    let (name, _) = objects.next()?;
    objects.next().is_none().then_some(name)
}

fn present(fields: Map<String, Value>) -> Option<Value> {
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// The value without what must not be seen.
fn shown(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match mark(fields) {
            Some(mark) => json!({ "sealed": mark }),
            None => fields
                .iter()
                .filter(|(name, _)| !HIDDEN.contains(&name.as_str()))
                .map(|(name, value)| match name.as_str() {
                    // What an environment variable says of its value.
                    "value_id" => ("value".to_owned(), json!({ "sealed": fields.get("mark") })),
                    _ => (name.clone(), shown(value)),
                })
                .filter(|(name, _)| name != "mark")
                .collect(),
        },
        Value::Array(items) => items.iter().map(shown).collect(),
        plain => plain.clone(),
    }
}

/// The mark of a sealed value; nothing else has these four fields.
fn mark(fields: &Map<String, Value>) -> Option<&Value> {
    let sealed = fields.len() == 4 && ["id", "key", "data"].iter().all(|name| fields.contains_key(*name));
    if sealed { fields.get("mark") } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_fields_are_before_and_the_rest_is_after() {
        let (before, after) =
            before_after(&json!({ "type": "team.renamed", "name": "B", "slug": "b", "old_slug": "a" }));
        assert_eq!(before, Some(json!({ "slug": "a" })));
        assert_eq!(after, Some(json!({ "name": "B", "slug": "b" })));
    }

    #[test]
    fn what_was_replaced_whole_has_the_name_of_its_successor() {
        let payload = json!({ "team_id": "t", "settings": { "slug": "b" }, "old": { "slug": "a" } });
        let (before, after) = before_after(&payload);
        assert_eq!(before, Some(json!({ "settings": { "slug": "a" } })));
        assert_eq!(after, Some(json!({ "team_id": "t", "settings": { "slug": "b" } })));
    }

    #[test]
    fn of_a_value_only_the_mark_is_shown() {
        let sealed = json!({ "id": "i", "key": "project:p", "data": "CIPHER", "mark": "m2" });
        let old = json!({ "key": "A", "value_id": "i", "mark": "m1", "sensitive": true });
        let (before, after) =
            before_after(&json!({ "key": "A", "value": sealed, "sensitive": true, "old": old }));
        assert_eq!(before, Some(json!({ "key": "A", "value": { "sealed": "m1" }, "sensitive": true })));
        assert_eq!(after, Some(json!({ "key": "A", "value": { "sealed": "m2" }, "sensitive": true })));
    }

    #[test]
    fn hashes_are_left_out_and_nothing_is_none() {
        let (before, after) =
            before_after(&json!({ "hash": "h", "token_hash": "h", "email_hash": "h", "n": [] }));
        assert_eq!((before, after), (None, Some(json!({ "n": [] }))));
        assert_eq!(before_after(&json!({ "type": "build.cancelled" })), (None, None));
    }
}
