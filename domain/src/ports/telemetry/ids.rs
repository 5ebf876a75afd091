//! Ids that senders give: W3C trace context.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What was given as an id is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be {0} hexadecimal digits, not all of them zero")]
pub struct NotAnId(usize);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Its bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = NotAnId;

            fn try_from(bytes: &[u8]) -> Result<Self, NotAnId> {
                let bytes = <[u8; $bytes]>::try_from(bytes).map_err(|_| NotAnId($bytes * 2))?;
                if bytes.iter().all(|byte| *byte == 0) { Err(NotAnId($bytes * 2)) } else { Ok(Self(bytes)) }
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let digits = Some(text).filter(|text| text.len() == $bytes * 2 && text.is_ascii());
                let digits = digits.ok_or(NotAnId($bytes * 2))?;
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
                    let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(NotAnId($bytes * 2));
                    *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| NotAnId($bytes * 2))?;
                }
                Self::try_from(&bytes[..])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id! {
    /// What belongs together: one request, with all that it led to.
    TraceId, 16
}

id! {
    /// One piece of work in a trace.
    SpanId, 8
}

id! {
    /// What a line, a measurement or a score is known by: told by its sender, or else made of what it says, so that what
    /// is sent again is the same.
    RecordId, 16
}

id! {
    /// Errors that are alike: made of what they are alike by.
    ErrorId, 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_all_its_digits_and_not_only_zeros() {
        let text = "987cc6d9a1d887b1e8053c722fa2c668";
        assert_eq!(text.parse::<TraceId>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<TraceId>(), text.parse());
        let zeros = "0".repeat(32);
        for odd in ["", &text[1..], &format!("{text}0"), &zeros, "987cc6d9a1d887b1e8053c722fa2c66g", "+1"] {
            assert!(odd.parse::<TraceId>().is_err(), "{odd}");
        }
        assert!("ö".repeat(16).parse::<TraceId>().is_err());
        assert!("135d821b7d91fb5b".parse::<SpanId>().is_ok());
    }
}
