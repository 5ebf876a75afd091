//! Reads a `.env` file.

use super::{Entry, Fault};
use crate::values::EnvKey;

type Refused = (Option<EnvKey>, &'static str);

/// The variables of a file, in its order, those with the same name, too.
///
/// # Errors
/// Every line that is refused; behind a quote that is never closed nothing is looked at.
pub fn read(text: &str) -> Result<Vec<Entry>, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut reader = Reader { rest: &text, line: 1 };
    let (mut entries, mut faults) = (vec![], vec![]);
    while !reader.rest.is_empty() {
        let line = reader.line;
        match reader.statement() {
            Ok(Some((key, value))) => entries.push(Entry { line, key, value }),
            Ok(None) => {}
            Err((key, why)) => faults.push(Fault { line, key, why }),
        }
        reader.take_line();
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

struct Reader<'a> {
    rest: &'a str,
    /// The line that `rest` begins on.
    line: usize,
}

impl<'a> Reader<'a> {
    /// The rest of the present line, which is behind the reader then.
    fn take_line(&mut self) -> &'a str {
        let (head, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        head
    }

    /// Goes on behind this many bytes.
    fn skip(&mut self, bytes: usize) {
        let (before, rest) = self.rest.split_at(bytes);
        self.line += before.matches('\n').count();
        self.rest = rest;
    }

    /// One variable, or nothing on a line without; stops on the line where it ends.
    fn statement(&mut self) -> Result<Option<(EnvKey, String)>, Refused> {
        let head = self.rest.lines().next().unwrap_or_default();
        let start = head.trim_start();
        if start.is_empty() || start.starts_with('#') {
            return Ok(None);
        }
        let exported = start.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
        let Some((name, value)) = exported.unwrap_or(start).split_once('=') else {
            return Err((None, "has no `=`"));
        };
        let key: EnvKey = name.trim().parse().map_err(|_| {
            (None, "has no name of 1 to 128 characters of A-Z, a-z, 0-9 and _ before its `=`")
        })?;
        let read = match value.trim_start().chars().next() {
            Some(quote @ ('\'' | '"' | '`')) => {
                self.skip(head.len() - value.trim_start().len());
                self.quoted(quote)
            }
            _ => bare(value),
        };
        read.map(|value| Some((key.clone(), value))).map_err(|why| (Some(key), why))
    }

    fn quoted(&mut self, quote: char) -> Result<String, &'static str> {
        let inside = &self.rest[1..];
        let Some((value, length)) = (if quote == '"' { escaped(inside) } else { literal(inside, quote) })
        else {
            self.skip(self.rest.len());
            return Err("has a quote that is never closed");
        };
        self.skip(1 + length + 1);
        let after = self.rest.lines().next().unwrap_or_default().trim_start();
        // The end of a line follows, or a comment.
        if !self.rest.starts_with('\n') && !after.is_empty() && !after.starts_with('#') {
            return Err("has text behind its closing quote");
        }
        Ok(value)
    }
}

/// A value without quotes: to the end of the line, or to a comment. With what stands before it, since only behind a
/// space everybody takes `#` for a comment.
fn bare(value: &str) -> Result<String, &'static str> {
    let Some(at) = value.find('#') else { return Ok(value.trim().to_owned()) };
    let value = &value[..at];
    if value.ends_with(char::is_whitespace) {
        return Ok(value.trim().to_owned());
    }
    Err("has a `#` that some take for a comment and some for a part of the value: put the value in quotes")
}

/// All up to the quote, as it stands there; and how many bytes that were.
fn literal(inside: &str, quote: char) -> Option<(String, usize)> {
    inside.find(quote).map(|end| (inside[..end].to_owned(), end))
}

/// The same with `\n`, `\r`, `\"`, `\\` and `\$`; every other backslash stands for itself.
fn escaped(inside: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, at)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                same @ ('"' | '\\' | '$') => value.push(same),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}
