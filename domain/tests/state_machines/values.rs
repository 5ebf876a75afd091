//! Few values of each kind, so that commands meet.

use std::fmt::Debug;
use std::str::FromStr;

use domain::ids::SecretId;
use domain::sealed::{KeyOwner, Sealed};
use proptest::prelude::*;
use uuid::Uuid;

/// The id of this number.
pub(crate) fn id<T: From<Uuid>>(number: u128) -> T {
    Uuid::from_u128(number).into()
}

/// One of the first ids.
pub(crate) fn ids<T: From<Uuid> + Debug>(count: u128) -> impl Strategy<Value = T> {
    (1..=count).prop_map(id)
}

/// A value that is known to be good.
pub(crate) fn good<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// One of these texts as a value.
pub(crate) fn texts<T: FromStr<Err: Debug> + Debug>(
    texts: &'static [&'static str],
) -> impl Strategy<Value = T> {
    prop::sample::select(texts).prop_map(good)
}

/// One of two values in one of three sealings.
pub(crate) fn sealings(key: KeyOwner) -> impl Strategy<Value = Sealed> {
    (ids::<SecretId>(3), prop::sample::select(&["a", "b"][..])).prop_map(move |(id, value)| Sealed {
        id,
        key,
        data: "AAAA".to_owned(),
        mark: value.to_owned(),
    })
}
