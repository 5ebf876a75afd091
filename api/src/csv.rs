//! Comma-separated values, RFC 4180. A cell that a spreadsheet would take for a formula begins with an apostrophe.

/// Adds a row.
pub(crate) fn row(cells: impl IntoIterator<Item = String>, out: &mut String) {
    for (number, text) in cells.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        cell(&text, out);
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
}
