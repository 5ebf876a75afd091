//! Words of events, by which free text finds them.
//!
//! A word is a run of letters and digits, in lower case; an id is one word. What is asked for must be the beginning
//! of a word. In names (of variables, projects, teams, tokens) it may stand anywhere in a word, because people
//! remember the middle of `OPENAI_API_KEY` too. PostgreSQL's own text search indexes them: no extension is needed,
//! which a server that is not ours may not have.

use std::collections::BTreeSet;

use serde_json::Value;

/// Words of one event; what is more is not found by free text.
const MOST: usize = 1000;
/// Characters of a word that count.
const LONGEST: usize = 64;
/// Fields that hold names.
const NAMES: [&str; 6] = ["key", "keys", "name", "slug", "organization", "branch"];

/// Collects words.
#[derive(Default)]
pub(super) struct Words(BTreeSet<String>);

impl Words {
    /// Adds a text.
    pub(super) fn add(&mut self, text: &str) {
        for word in split(text) {
            self.insert(word);
        }
    }

    /// Adds every text and number of a document, but for the names of its fields.
    pub(super) fn add_all(&mut self, value: &Value) {
        self.walk(value, false);
    }

    /// Them, in order.
    pub(super) fn into_vec(self) -> Vec<String> {
        self.0.into_iter().collect()
    }

    fn walk(&mut self, value: &Value, is_name: bool) {
        match value {
            Value::String(text) if is_name => self.add_name(text),
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(values) => values.iter().for_each(|value| self.walk(value, is_name)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.walk(value, NAMES.contains(&key.as_str()));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Adds every ending of every word, so that what stands in the middle begins one.
    fn add_name(&mut self, text: &str) {
        for word in split(text) {
            let starts: Vec<usize> = word.char_indices().map(|(at, _)| at).collect();
            let endings = starts.len().saturating_sub(1).max(1);
            for at in &starts[..endings] {
                self.insert(word[*at..].to_owned());
            }
        }
    }

    fn insert(&mut self, word: String) {
        if self.0.len() < MOST {
            self.0.insert(word);
        }
    }
}

/// What a free text asks for, as PostgreSQL's `tsquery`: all of its words. None when it has none.
pub(super) fn query(text: &str) -> Option<String> {
    let words: BTreeSet<String> = split(text).collect();
    let begun: Vec<String> = words.iter().map(|word| format!("'{word}':*")).collect();
    (!begun.is_empty()).then(|| begun.join(" & "))
}

fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '-')
        .flat_map(|part| {
            // The dashes of an id do not end a word.
            let (id, words) = if is_id(part) { (Some(part), "") } else { (None, part) };
            id.into_iter().chain(words.split('-'))
        })
        .map(word)
        .filter(|word| !word.is_empty())
}

/// Its letters and digits, in lower case.
fn word(of: &str) -> String {
    if of.is_ascii() {
        let mut word = String::with_capacity(of.len().min(LONGEST));
        let counts = of.bytes().filter(u8::is_ascii_alphanumeric).take(LONGEST);
        word.extend(counts.map(|byte| char::from(byte.to_ascii_lowercase())));
        return word;
    }
    of.to_lowercase().chars().filter(|c| c.is_alphanumeric()).take(LONGEST).collect()
}

/// Whether it is an id, or the beginning of one: eight hexadecimal digits, a dash, more of them.
fn is_id(part: &str) -> bool {
    part.as_bytes().get(8) == Some(&b'-')
        && part.bytes().enumerate().all(|(at, byte)| byte.is_ascii_hexdigit() || (at >= 8 && byte == b'-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As PostgreSQL does it.
    fn finds(document: &Value, text: &str) -> bool {
        let mut words = Words::default();
        words.add_all(document);
        let asked: Vec<String> = split(text).collect();
        asked.iter().all(|asked| words.0.iter().any(|word| word.starts_with(asked.as_str())))
    }

    #[test]
    fn names_are_found_by_any_part_and_all_else_by_how_its_words_begin() {
        let id = "0192f3a1-7bcd-7000-8000-000000000001";
        let document = json!({
            "key": "OPENAI_API_KEY",
            "environment_id": id,
            "message": "npm ERR! Übersetzung missing: left-pad",
            "port": 4111,
            "sensitive": true,
        });
        for text in
            ["openai", "API_KEY", "nai_api", "enai key", id, "0192f3a1-7bcd", "übersetz", "left-pad", "4111"]
        {
            assert!(finds(&document, text), "{text}");
        }
        for text in ["anthropic", "rsetzung", "7bcd-7000-8000", "true", "sensitive"] {
            assert!(!finds(&document, text), "{text}");
        }
    }

    #[test]
    fn a_query_has_nothing_that_postgresql_could_misread() {
        assert_eq!(query("it's -- 'API' & !x:*").unwrap(), "'api':* & 'it':* & 's':* & 'x':*");
        assert_eq!(query(" -- '' "), None);
    }

    #[test]
    fn words_are_in_lower_case_and_no_longer_than_counts() {
        let words = |text: &str| split(text).collect::<Vec<_>>();
        assert_eq!(words("Left-Pad_2 İÇ--x"), ["left", "pad", "2", "iç", "x"]);
        assert_eq!(words("0192F3A1-7bcd-"), ["0192f3a17bcd"]);
        assert_eq!(words(&"Ab".repeat(40)), ["ab".repeat(32)]);
        assert_eq!(words(&"Äb".repeat(40)), ["äb".repeat(32)]);
    }

    #[test]
    fn an_event_of_many_names_has_a_bounded_number_of_words() {
        let keys: Vec<String> = (0..500).map(|n| format!("{:016}", n * 7_919_u64)).collect();
        let mut words = Words::default();
        words.add_all(&json!({ "keys": keys }));
        assert_eq!(words.into_vec().len(), MOST);
    }
}
