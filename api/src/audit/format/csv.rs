//! Comma-separated values, RFC 4180. A cell that a spreadsheet would take for a formula begins with an apostrophe.

use serde_json::Value;

use crate::audit::Shown;

const COLUMNS: [&str; 19] = [
    "position",
    "eventId",
    "at",
    "teamId",
    "projectId",
    "actor",
    "onBehalfOf",
    "action",
    "command",
    "resource",
    "resourceId",
    "outcome",
    "before",
    "after",
    "requestId",
    "causation",
    "correlation",
    "sourceIp",
    "userAgent",
];

/// The names of the columns.
pub(super) fn head() -> String {
    format!("{}\r\n", COLUMNS.join(","))
}

/// Adds a row.
pub(super) fn write(shown: &Shown, out: &mut String) {
    let row = shown.to_json();
    for (number, column) in COLUMNS.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        match &row[column] {
            Value::Null => {}
            Value::String(text) => cell(text, out),
            other => cell(&other.to_string(), out),
        }
    }
    out.push_str("\r\n");
}

fn cell(text: &str, out: &mut String) {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_quoted = text.contains([',', '"', '\r', '\n']);
    if is_quoted {
        out.push('"');
    }
    if is_formula {
        out.push('\'');
    }
    if is_quoted {
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::format::sample;

    #[test]
    fn cells_are_quoted_and_formulas_are_texts() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
        ] {
            let mut out = String::new();
            cell(text, &mut out);
            assert_eq!(out, expected, "{text:?}");
        }
    }

    #[test]
    fn a_row_has_as_many_cells_as_the_head() {
        let mut out = String::new();
        write(&sample::shown(), &mut out);
        assert!(
            out.starts_with("12,00000000-0000-0000-0000-000000000007,2023-11-14T22:13:20.123Z,"),
            "{out}"
        );
        assert!(out.contains(r#""{""name"":""=1+1""}","#), "{out}");
        assert!(out.ends_with(",'-2+3,request:1,request:1,192.0.2.1,'@SUM(A1)\r\n"), "{out}");
        assert_eq!(head().split(',').count(), COLUMNS.len());
    }
}
