//! Labels as texts, by which measurements are grouped: as PostgreSQL writes what stands in an object, so that the groups of
//! both stores have the same names.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// A group is told by what it is called, not by a text of some size.
const LONGEST: usize = 512;

/// Each label with its text; those that are null have none.
pub(super) fn texts(labels: &Map<String, Value>) -> Vec<(String, Option<String>)> {
    labels.iter().map(|(label, value)| (label.clone(), text(value))).collect()
}

fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => {
            let mut text = String::new();
            write(&mut text, other);
            text
        }
    };
    Some(text.chars().take(LONGEST).collect())
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Number(number) => out.push_str(&plain(number)),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| (name.len(), name.as_bytes()));
            out.push('{');
            for (n, (name, member)) in members.into_iter().enumerate() {
                let _ = write!(out, "{}{}: ", if n == 0 { "" } else { ", " }, Value::from(name.as_str()));
                write(out, member);
            }
            out.push('}');
        }
        plain => {
            let _ = write!(out, "{plain}");
        }
    }
}

/// A number without an exponent.
fn plain(number: &Number) -> String {
    let text = number.to_string();
    match number.as_f64() {
        Some(zero) if text.starts_with("-0") && zero == 0.0 => text.replacen('-', "", 1),
        Some(float) if text.contains('e') => float.to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_postgresql_writes_them() {
        for (value, wanted) in [
            (json!("a \"b\""), "a \"b\""),
            (json!(true), "true"),
            (json!(-7), "-7"),
            (json!(1.5), "1.5"),
            (json!(1.0), "1.0"),
            (json!(-0.0), "0.0"),
            (json!(1.5e-7), "0.00000015"),
            (json!(1.25e20), "125000000000000000000"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(["a", 1, null]), r#"["a", 1, null]"#),
            (json!({ "bb": 1, "c": { "d": "\n" }, "a": [] }), r#"{"a": [], "c": {"d": "\n"}, "bb": 1}"#),
        ] {
            assert_eq!(text(&value).as_deref(), Some(wanted));
        }
        assert_eq!(text(&json!(null)), None);
        assert_eq!(text(&json!("ä".repeat(600))).map(|text| text.chars().count()), Some(512));
    }
}
