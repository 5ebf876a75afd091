//! JSON, row by row: of a body only its text is in memory as a whole, and of what it becomes one row at a time.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Value};

use super::malformed;
use crate::error::ApiError;

/// Bytes that a row may take up while it is read.
const ROW: usize = 32 << 20;
/// Bytes of an object with few members, of a list with few items, and of one item more.
const PARTS: [(u8, usize); 3] = [(b'{', 640), (b'[', 128), (b',', 64)];

/// Shows each item of the list that is a member of an object; whether there is one. What stands there instead of a list was
/// meant to be one: nothing of it is dropped in silence.
pub(super) fn each<'a>(
    object: &'a [u8],
    name: &'static str,
    mut show: impl FnMut(&'a RawValue) -> Result<(), ApiError>,
) -> Result<bool, ApiError> {
    let mut walk = Walk { name, show: &mut show, place: Place::Object, is_there: false, refused: None };
    let mut text = Deserializer::from_slice(object);
    let done = text.deserialize_any(&mut walk).and_then(|()| text.end());
    match (done, walk.refused) {
        (_, Some(refused)) => Err(refused),
        (Ok(()), None) => Ok(walk.is_there),
        (Err(error), None) if error.classify() == Category::Data => Err(match walk.place {
            Place::Object => no_object(),
            Place::List => ApiError::field(name, "invalid", "must be a list"),
        }),
        (Err(error), None) => Err(malformed(format!("The body is no JSON: {error}."))),
    }
}

/// A member of an object, as it is written.
pub(super) fn member<'a>(object: &'a RawValue, name: &'static str) -> Result<Option<&'a RawValue>, ApiError> {
    // It was read once: all that can be wrong is what it is.
    Deserializer::from_str(object.get()).deserialize_map(Member(name)).map_err(|_| no_object())
}

fn no_object() -> ApiError {
    ApiError::field("", "not_an_object", "must be a JSON object")
}

/// What is written there, unless that takes up too much.
pub(super) fn parsed(written: &RawValue) -> Result<Value, String> {
    let of = |byte: &u8| PARTS.iter().find(|(sign, _)| sign == byte).map_or(0, |(_, size)| *size);
    // What stands in texts counts, too: it is more than enough.
    if written.get().as_bytes().iter().map(of).sum::<usize>() > ROW {
        return Err("it consists of too many parts".to_owned());
    }
    serde_json::from_str(written.get()).map_err(|error| format!("it cannot be read: {error}"))
}

struct Walk<'f, F> {
    name: &'static str,
    show: &'f mut F,
    place: Place,
    is_there: bool,
    /// Why it was broken off.
    refused: Option<ApiError>,
}

/// What is read, and may be something else.
enum Place {
    Object,
    List,
}

impl<'a, F: FnMut(&'a RawValue) -> Result<(), ApiError>> Visitor<'a> for &mut Walk<'_, F> {
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.name {
                self.place = Place::List;
                map.next_value_seed(List(self))?;
                self.place = Place::Object;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The list.
struct List<'w, 'f, F>(&'w mut Walk<'f, F>);

impl<'a, F: FnMut(&'a RawValue) -> Result<(), ApiError>> DeserializeSeed<'a> for List<'_, '_, F> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, text: D) -> Result<(), D::Error> {
        text.deserialize_any(self)
    }
}

impl<'a, F: FnMut(&'a RawValue) -> Result<(), ApiError>> Visitor<'a> for List<'_, '_, F> {
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("a list")
    }

    /// As if it were left out.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.is_there = true;
        while let Some(item) = list.next_element::<&RawValue>()? {
            if let Err(refused) = (self.0.show)(item) {
                self.0.refused = Some(refused);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// The member of this name.
struct Member(&'static str);

impl<'a> Visitor<'a> for Member {
    type Value = Option<&'a RawValue>;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> Result<(bool, Vec<String>), String> {
        let mut seen = vec![];
        let show = |item: &RawValue| {
            seen.push(item.get().to_owned());
            Ok(())
        };
        let is_there = each(body.as_bytes(), "rows", show).map_err(|error| format!("{error:?}"))?;
        Ok((is_there, seen))
    }

    #[test]
    fn items_are_shown_as_they_are_written() {
        let items = ["1", r#"{"a":[2, "\u0041"]}"#, "null"].map(str::to_owned).to_vec();
        let body = r#"{"other":{"rows":[9]}, "ro\u0077s":[1, {"a":[2, "\u0041"]}, null], "more":[]}"#;
        assert_eq!(shown(body), Ok((true, items)));
        assert_eq!(shown(r#"{"rows":[]}"#), Ok((true, vec![])));
        assert_eq!(shown(r#"{"rows":null}"#), Ok((false, vec![])));
        assert_eq!(shown("{}"), Ok((false, vec![])));
    }

    #[test]
    fn what_is_something_else_is_said_to_be() {
        for (body, why) in [
            (r#"{"rows":7}"#, "must be a list"),
            (r#"{"rows":{"a":1}}"#, "must be a list"),
            ("[]", "must be a JSON object"),
            ("7", "must be a JSON object"),
            (r#"{"rows":[1,"#, "no JSON"),
            (r#"{"rows":[1]} x"#, "no JSON"),
            ("", "no JSON"),
        ] {
            let refused = shown(body).unwrap_err();
            assert!(refused.contains(why), "{body}: {refused}");
        }
        let refused = each(br#"{"rows":[1,2]}"#, "rows", |_| Err(malformed("not that one"))).unwrap_err();
        assert!(format!("{refused:?}").contains("not that one"));
    }

    #[test]
    fn a_member_is_found_wherever_it_stands() {
        let object: &RawValue = serde_json::from_str(r#"{"b":[1, 2],"x":{"a":0},"a":"t"}"#).unwrap();
        let found = ["a", "b", "c"].map(|name| member(object, name).unwrap().map(RawValue::get));
        assert_eq!(found, [Some(r#""t""#), Some("[1, 2]"), None]);
        let list: &RawValue = serde_json::from_str("[1]").unwrap();
        let refused = member(list, "a").unwrap_err();
        assert!(format!("{refused:?}").contains("not_an_object"), "{refused:?}");
    }

    #[test]
    fn a_row_of_very_many_parts_is_not_read() {
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let many = |count: usize| raw(format!("[{}1]", "{},".repeat(count)));
        assert!(parsed(&many(ROW / 800)).is_ok());
        assert_eq!(parsed(&many(ROW / 600)).unwrap_err(), "it consists of too many parts");
        assert!(parsed(&raw("1e999".to_owned())).unwrap_err().contains("out of range"));
    }
}
