//! Names of things and of people.

use super::{InvalidValue, text};

text! {
    /// A name in URLs: 1 to 63 of `a-z 0-9 -`, no dash at an end, no two dashes together
    /// (`project--environment` separates them in host names).
    Slug, |text| {
        let good = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--");
        if !good {
            return Err(InvalidValue::new(
                "must be 1 to 63 characters of a-z, 0-9 and single dashes, with no dash at an end",
            ));
        }
        Ok(text.to_owned())
    }
}

text! {
    /// What a team, project, environment, token or role is called: 1 to 100 characters on one line.
    DisplayName, |text| one_line(text, 1, 100)
}

text! {
    /// A first or last name; a person may have only one of them, so it may be empty.
    PersonName, |text| one_line(text, 0, 100)
}

text! {
    /// Name of an environment variable, as POSIX writes them.
    EnvKey, |text| {
        let mut bytes = text.bytes();
        let good = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.len() <= 128;
        if !good {
            return Err(InvalidValue::new(
                "must be 1 to 128 characters of A-Z, a-z, 0-9 and _, not beginning with a digit",
            ));
        }
        Ok(text.to_owned())
    }
}

impl Slug {
    /// The nearest slug to a name, for when none was given; `None` when nothing of the name fits.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut slug = String::new();
        for c in name.to_lowercase().chars() {
            if c.is_ascii_alphanumeric() {
                slug.push(c);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        slug.truncate(63);
        slug.trim_end_matches('-').parse().ok()
    }
}

/// Trims; refuses control characters (U+0000 and line breaks among them) and lengths outside the bounds.
fn one_line(text: &str, min: usize, max: usize) -> Result<String, InvalidValue> {
    let text = text.trim();
    let count = text.chars().count();
    if count < min || count > max {
        return Err(InvalidValue(format!("must have {min} to {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidValue::new("must not contain control characters"));
    }
    Ok(text.to_owned())
}
