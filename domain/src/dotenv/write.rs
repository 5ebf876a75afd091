//! Writes a `.env` file.

use crate::values::EnvKey;

/// The file, a variable a line (or several, when its value has some). It takes the first way of quoting that npm's
/// `dotenv` reads to the same bytes; a value with every kind of quote has none, and is written with backslashes.
pub fn write<'a>(vars: impl IntoIterator<Item = (&'a EnvKey, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in vars {
        text.push_str(key.as_str());
        text.push('=');
        push(&mut text, value);
        text.push('\n');
    }
    text
}

fn push(text: &mut String, value: &str) {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "_./:@%+,=-\\".contains(char);
    if !value.is_empty() && value.chars().all(is_plain) {
        return text.push_str(value);
    }
    // Some take a backslash before a closing quote for a quote that goes on.
    let is_literal = !value.contains('\r') && !value.ends_with('\\');
    let quote = ['\'', '`'].into_iter().find(|&quote| is_literal && !value.contains(quote));
    if let Some(quote) = quote {
        text.push(quote);
        text.push_str(value);
        return text.push(quote);
    }
    text.push('"');
    for char in value.chars() {
        match char {
            '\\' | '"' => text.extend(['\\', char]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            _ => text.push(char),
        }
    }
    text.push('"');
}
