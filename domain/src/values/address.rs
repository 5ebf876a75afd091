//! E-mail addresses.

use unicode_normalization::UnicodeNormalization;

use super::{InvalidValue, text};

text! {
    /// An e-mail address as its owner writes it.
    Email, |text| {
        let text = text.trim();
        let good = text.len() <= 254
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>(),;:\"\\[]".contains(c))
            && text.rsplit_once('@').is_some_and(|(local, domain)| {
                !local.is_empty()
                    && local.len() <= 64
                    && !local.contains('@')
                    && !local.starts_with('.')
                    && !local.ends_with('.')
                    && is_domain(domain)
            });
        if !good {
            return Err(InvalidValue::new("must be an e-mail address like name@example.org"));
        }
        Ok(text.to_owned())
    }
}

impl Email {
    /// The form in which two addresses are compared: Unicode NFKC, lower case, `+tag` kept.
    pub fn comparable(&self) -> String {
        self.as_str().nfkc().collect::<String>().to_lowercase()
    }
}

fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    })
}
