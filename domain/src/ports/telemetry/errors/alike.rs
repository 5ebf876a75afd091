//! What messages are alike by: the text without what differs from one time to the next.

/// Bytes that are looked at.
const MOST: usize = 512;
/// Letters and digits together from this length on are an id.
const ID: usize = 8;
/// Hexadecimal digits with hyphens between them from this length on are one.
const LONG_ID: usize = 16;

/// Numbers, ids and what stands in quotes become signs, white space one space.
pub(super) fn normal(message: &str) -> String {
    let mut rest = super::cut(message.trim(), MOST);
    let (mut said, mut before) = (String::new(), ' ');
    while let Some(char) = rest.chars().next() {
        let (sign, length) = match char {
            '\'' | '"' | '`' if !before.is_alphanumeric() => quoted(rest, char).unwrap_or((None, 1)),
            char if char.is_alphanumeric() => word(rest),
            char if char.is_whitespace() => {
                (Some(" "), rest.find(|it: char| !it.is_whitespace()).unwrap_or(rest.len()))
            }
            char => (None, char.len_utf8()),
        };
        let (this, after) = rest.split_at(length);
        match sign {
            Some(sign) => said.push_str(sign),
            None => plain(this, &mut said),
        }
        before = this.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    said
}

/// What stands in quotes, with them.
fn quoted(rest: &str, quote: char) -> Option<(Option<&'static str>, usize)> {
    let end = rest[1..]
        .match_indices(quote)
        .map(|(at, _)| at + 2)
        .find(|end| !rest[*end..].starts_with(char::is_alphanumeric))?;
    Some((Some("<text>"), end))
}

/// A word, and whether it is an id.
fn word(rest: &str) -> (Option<&'static str>, usize) {
    let until = |is_part: fn(char) -> bool| rest.find(|it: char| !is_part(it)).unwrap_or(rest.len());
    let has_digit = |end: usize| rest[..end].contains(|it: char| it.is_ascii_digit());
    let hex = until(|it| it.is_ascii_hexdigit() || it == '-');
    let end = until(char::is_alphanumeric);
    if hex >= LONG_ID && hex >= end && has_digit(hex) {
        return (Some("<id>"), hex);
    }
    let is_number = rest[..end].bytes().all(|byte| byte.is_ascii_digit());
    let is_id = end >= ID && has_digit(end) && !is_number;
    (is_id.then_some("<id>"), end)
}

/// A part without ids: its numbers become signs, also those with a point in them.
fn plain(this: &str, said: &mut String) {
    for char in this.chars() {
        if !char.is_ascii_digit() {
            said.push(char);
        } else if let Some(before) = said.strip_suffix("<n>.").or_else(|| said.strip_suffix("<n>,")) {
            said.truncate(before.len() + "<n>".len());
        } else if !said.ends_with("<n>") {
            said.push_str("<n>");
        }
    }
}
