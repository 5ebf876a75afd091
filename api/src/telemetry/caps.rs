//! Caps on what senders choose freely. What is beyond them is cut, and it is said that it was.

use serde_json::{Map, Number, Value};

/// Bytes of a name, a model, a user.
pub(super) const NAME: usize = 512;
/// Bytes of a message.
pub(super) const MESSAGE: usize = 4096;
/// Labels of one span.
pub(super) const TAGS: usize = 64;
/// Events or links of one span.
pub(super) const ITEMS: usize = 128;
/// Bytes of one text among the attributes.
const TEXT: usize = 32 << 10;
/// Members of one object, or items of one list.
const MEMBERS: usize = 512;
/// Bytes of all attributes of a span, of its resource, of its events, each.
const ALL: usize = 256 << 10;
/// What a member or an item takes up besides what it says.
const ITEM: usize = 8;
/// How deep objects may stand in each other.
const DEPTH: usize = 32;

/// Says how many members were left out of an object.
const DROPPED: &str = "mastra_admin.dropped";

/// A text within a cap, as PostgreSQL and JSON can both hold it.
pub(super) fn text(text: &str, most: usize) -> String {
    let text = text.replace('\0', "\u{FFFD}");
    if text.len() <= most {
        return text;
    }
    let end = text.floor_char_boundary(most);
    format!("{}… ({} bytes cut)", &text[..end], text.len() - end)
}

/// The same of a text that most often is within it.
pub(super) fn owned(it: String, most: usize) -> String {
    if it.len() <= most && !it.contains('\0') { it } else { text(&it, most) }
}

/// An object within the caps.
pub(super) fn object(map: Map<String, Value>) -> Map<String, Value> {
    let mut left = ALL;
    members(map, &mut left, DEPTH)
}

/// A list within the caps.
pub(super) fn list(items: Vec<Value>) -> Vec<Value> {
    let mut left = ALL;
    some(items, ITEMS, &mut left, DEPTH)
}

/// Items of a list, as long as something is left.
fn some(items: Vec<Value>, most: usize, left: &mut usize, depth: usize) -> Vec<Value> {
    let mut kept = vec![];
    for item in items.into_iter().take(most) {
        let Some(rest) = left.checked_sub(ITEM) else { break };
        *left = rest;
        kept.push(value(item, left, depth));
    }
    kept
}

/// Bytes that a value takes up in memory, roughly.
pub(super) fn size(it: &Value) -> usize {
    size_of::<Value>()
        + match it {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(map) => size_of_members(map),
            _ => 0,
        }
}

/// Bytes that members take up in memory, roughly.
pub(super) fn size_of_members(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, member)| size_of::<String>() + key.len() + size(member)).sum()
}

fn members(mut map: Map<String, Value>, left: &mut usize, depth: usize) -> Map<String, Value> {
    // Most often all of it stays, and stays where it is. Nothing is charged more than ten times of what it takes up in memory.
    let is_name = |key: &String| key.len() <= NAME && !key.contains('\0');
    if map.len() <= MEMBERS && map.keys().all(is_name) && size_of_members(&map) < *left / 10 {
        for (key, member) in &mut map {
            *left -= key.len() + ITEM;
            *member = value(member.take(), left, depth);
        }
        return map;
    }
    let (mut kept, mut dropped) = (Map::new(), 0_u64);
    for (key, member) in map {
        if kept.len() >= MEMBERS || *left <= key.len() + ITEM {
            dropped += 1;
            continue;
        }
        *left -= key.len() + ITEM;
        kept.insert(owned(key, NAME), value(member, left, depth));
    }
    if dropped > 0 {
        kept.insert(DROPPED.to_owned(), dropped.into());
    }
    kept
}

fn value(it: Value, left: &mut usize, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else { return "… (too deep)".into() };
    match it {
        Value::String(it) => {
            let it = owned(it, TEXT.min(*left));
            *left = left.saturating_sub(it.len());
            Value::String(it)
        }
        Value::Array(items) => Value::Array(some(items, MEMBERS, left, deeper)),
        Value::Object(map) => Value::Object(members(map, left, deeper)),
        Value::Number(number) => {
            *left = left.saturating_sub(printed(&number));
            Value::Number(number)
        }
        plain => {
            *left = left.saturating_sub(ITEM);
            plain
        }
    }
}

/// Bytes of a number as PostgreSQL writes it: without an exponent, however large or small it is.
fn printed(number: &Number) -> usize {
    match number.as_f64().filter(|_| number.is_f64()).map(f64::abs) {
        Some(size) if size > 1e15 || (size < 1e-5 && size > 0.0) => 310,
        _ => 24,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn too_much_is_cut_and_it_is_said() {
        let many: Map<String, Value> = (0..10_000).map(|n| (format!("k{n:05}"), n.into())).collect();
        let kept = object(many);
        assert_eq!((kept.len(), &kept[DROPPED]), (MEMBERS + 1, &json!(10_000 - MEMBERS)));
        let large = object(Map::from_iter([("large".to_owned(), "ä".repeat(1 << 20).into())]));
        let text = large["large"].as_str().unwrap();
        assert!(text.len() < TEXT + 40 && text.ends_with("bytes cut)"), "{}", text.len());
        let all: Map<String, Value> =
            (0..100).map(|n| (format!("k{n}"), "x".repeat(30_000).into())).collect();
        assert!(json!(object(all)).to_string().len() < ALL + 100 * 40);
        let mut deep = json!(1);
        (0..100).for_each(|_| deep = json!([deep]));
        assert!(json!(object(Map::from_iter([("deep".to_owned(), deep)]))).to_string().contains("too deep"));
        let lists = json!({ "a": vec![json!(vec![1; 500]); 500] });
        let lists = object(lists.as_object().unwrap().clone());
        assert!(json!(lists).to_string().len() < ALL, "lists are charged");
        assert!(json!(list(vec![json!("x".repeat(TEXT)); ITEMS])).to_string().len() < ALL + 1000);
        let long = object(Map::from_iter([("a".to_owned(), json!(vec![json!(vec![1e-300; 500]); 500]))]));
        assert!(json!(long).to_string().matches("1e-300").count() < ALL / 300, "PostgreSQL writes them out");
        // In the middle of what is left, where it is about to be enough or not.
        for count in 600..700 {
            let long =
                object(Map::from_iter((0..8).map(|n| (format!("k{n}"), json!(vec![1e-300; count / 8])))));
            assert_eq!(json!(long).to_string().matches("1e-300").count(), count / 8 * 8);
        }
        let odd = json!({ "__proto__": { "a\0": "b\0" } });
        let odd = object(odd.as_object().unwrap().clone());
        assert_eq!(json!(odd), json!({ "__proto__": { "a\u{FFFD}": "b\u{FFFD}" } }));
    }
}
