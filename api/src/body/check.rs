//! What is refused in every body, before anybody looks for fields: duplicate names, U+0000, no object.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::error::{FieldError, Problem};

/// Refuses a body that is no JSON, no object, or says one thing twice.
pub(super) fn check(bytes: &[u8]) -> Result<(), Problem> {
    let mut wrong = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let walked = Walk { path: String::new(), wrong: &mut wrong }.deserialize(&mut json);
    match (walked.and_then(|()| json.end()), wrong) {
        (_, Some(FieldError { field, code, message })) => Err(Problem::invalid(field, code, message)),
        (Ok(()), None) => Ok(()),
        (Err(error), None) => Err(Problem::malformed(match error.classify() {
            Category::Eof => "the body ends before its JSON does".to_owned(),
            _ => format!("the body is no JSON: {error}"),
        })),
    }
}

struct Walk<'a> {
    path: String,
    wrong: &'a mut Option<FieldError>,
}

impl Walk<'_> {
    fn refuse<E: serde::de::Error, T>(&mut self, code: &'static str, message: &str) -> Result<T, E> {
        let field = self.path.clone();
        self.wrong.get_or_insert(FieldError { field, code, message: message.to_owned() });
        Err(E::custom(message))
    }

    fn check_text<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return self.refuse("invalid", "must not contain U+0000");
        }
        Ok(())
    }

    /// The whole body must be an object.
    fn check_nested<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.path.is_empty() {
            return self.refuse("invalid", "must be a JSON object");
        }
        Ok(())
    }

    fn inner(&mut self, name: &str) -> Walk<'_> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Walk { path, wrong: &mut *self.wrong }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            self.inner(&name.replace('\0', "\u{fffd}")).check_text::<A::Error>(&name)?;
            if names.contains(&name) {
                return self.inner(&name).refuse("duplicate_field", "is given twice");
            }
            map.next_value_seed(self.inner(&name))?;
            names.insert(name);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.check_nested::<A::Error>()?;
        let path = self.path.clone();
        for n in 0_usize.. {
            let item = Walk { path: format!("{path}[{n}]"), wrong: &mut *self.wrong };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<(), E> {
        self.check_nested::<E>()?;
        self.check_text(text)
    }

    fn visit_bool<E: serde::de::Error>(mut self, _: bool) -> Result<(), E> {
        self.check_nested()
    }

    fn visit_i64<E: serde::de::Error>(mut self, _: i64) -> Result<(), E> {
        self.check_nested()
    }

    fn visit_u64<E: serde::de::Error>(mut self, _: u64) -> Result<(), E> {
        self.check_nested()
    }

    fn visit_f64<E: serde::de::Error>(mut self, _: f64) -> Result<(), E> {
        self.check_nested()
    }

    fn visit_unit<E: serde::de::Error>(mut self) -> Result<(), E> {
        self.check_nested()
    }
}
