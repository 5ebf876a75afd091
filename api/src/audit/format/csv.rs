//! Comma-separated values.

use serde_json::Value;

use crate::audit::Shown;
use crate::csv;

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
    let cells = COLUMNS.iter().map(|column| match &row[column] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    csv::row(cells, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::format::sample;

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
