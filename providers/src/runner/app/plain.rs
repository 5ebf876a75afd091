//! Output of tools as plain text: without colours, without directories of the build host.

/// Length of one line that is shown.
const MAX_LINE: usize = 300;
/// Directories that mean something to the owner: an absolute path is shown from the first of them on.
const MARKS: [&str; 5] = ["/src/", "/node_modules/", "/apps/", "/packages/", "/.mastra/"];

/// The text without terminal sequences and without the leading directories of absolute paths.
pub(super) fn plain(text: &str) -> String {
    without_hosts_paths(&without_sequences(text))
}

/// The first line that holds `sign`, without what stands before it on that line for machines, and without a
/// stack trace behind it.
pub(super) fn from_sign(text: &str, sign: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains(sign) && !line.contains(" error code "))?;
    let line = line.split_once("(Mastra CLI): ").map_or(line, |(_, rest)| rest);
    let line = line.split_once("Failed to analyze Mastra application: ").map_or(line, |(_, rest)| rest);
    let line = line.split("    at ").next().unwrap_or(line).trim();
    let line = line.strip_prefix("npm error ").unwrap_or(line);
    Some(line.chars().take(MAX_LINE).collect())
}

/// Drops ECMA-48 sequences (colours, cursor, titles) and other control characters but line breaks and tabs.
fn without_sequences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    chars.find(|c| ('@'..='~').contains(c));
                }
                // A title ends with BEL, or with ESC and a backslash.
                Some(']') if chars.find(|c| matches!(c, '\u{7}' | '\u{1b}')) == Some('\u{1b}') => {
                    chars.next();
                }
                _ => {}
            },
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Shortens each absolute path; URLs stay.
fn without_hosts_paths(text: &str) -> String {
    let text = text.replace("file:///", "/");
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find('/') {
        let end = rest[start..].find(|c: char| c.is_whitespace() || "'\"`()<>,;".contains(c));
        let end = end.map_or(rest.len(), |length| start + length);
        let before = rest[..start].chars().next_back();
        let begins_path = before.is_none_or(|c| c.is_whitespace() || "'\"`([<=:,".contains(c));
        let is_url = before == Some(':') && rest[start..].starts_with("//");
        shown.push_str(&rest[..start]);
        let path = &rest[start..end];
        shown.push_str(if begins_path && !is_url { shortened(path) } else { path });
        rest = &rest[end..];
    }
    shown + rest
}

/// The part of an absolute path that is the owner's, or its last two names.
fn shortened(path: &str) -> &str {
    let mark = MARKS.iter().filter_map(|mark| path.find(mark)).min();
    match mark {
        Some(at) => &path[at + 1..],
        None if path.matches('/').count() < 3 => path,
        None => {
            let last = path.rfind('/').unwrap_or(0);
            &path[path[..last].rfind('/').map_or(0, |at| at + 1)..]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_titles_and_directories_of_the_host_go() {
        let cases = [
            ("\u{1b}[31mERROR\u{1b}[39m x", "ERROR x"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b\r\n", "ab\n"),
            ("/data/builds/42/source/src/mastra/a.ts:2:24: bad", "src/mastra/a.ts:2:24: bad"),
            ("at (file:///w/node_modules/x/a.js:1:2)", "at (node_modules/x/a.js:1:2)"),
            ("see https://example.org/a/b/c and /a/b", "see https://example.org/a/b/c and /a/b"),
            ("cwd=/one/two/three/four", "cwd=three/four"),
            ("from \"src/x.ts\" 1/2", "from \"src/x.ts\" 1/2"),
        ];
        for (text, shown) in cases {
            assert_eq!(plain(text), shown);
        }
    }
}
