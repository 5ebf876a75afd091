//! Commands that a project brings instead of the usual ones.

use super::{InvalidValue, text};

text! {
    /// A program and its arguments, quoted as in a shell but never run by one.
    CommandLine, |text| {
        let text = text.trim();
        if text.len() > 1000 || text.chars().any(char::is_control) {
            return Err(InvalidValue::new("must be one line of at most 1000 bytes"));
        }
        let words = shell_words::split(text).map_err(|_| InvalidValue::new("must have its quotes closed"))?;
        if words.first().is_none_or(String::is_empty) {
            return Err(InvalidValue::new("must name a program"));
        }
        const OPERATORS: [&str; 9] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"];
        if let Some(operator) = words.iter().find(|word| OPERATORS.contains(&word.as_str()) || word.ends_with(';')) {
            return Err(InvalidValue(format!(
                "must be a single command: no shell runs it, so `{operator}` would be an argument; put it into a package script",
            )));
        }
        if words[0].contains('=') {
            return Err(InvalidValue::new("must begin with a program; set variables as build-time environment variables"));
        }
        Ok(text.to_owned())
    }
}

impl CommandLine {
    /// The argument vector; never empty.
    pub fn argv(&self) -> Vec<String> {
        shell_words::split(self.as_str()).expect("checked when it was parsed")
    }
}
