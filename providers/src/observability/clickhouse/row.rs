//! How columns of all tables are written and read.

use chrono::{DateTime, NaiveDate, Utc};
use domain::ports::telemetry::{Failure, NotAnId};
use serde::Serialize;
use serde_json::{Map, Value};

use super::fault::Fault;

/// Sums stay within this, whatever senders make up.
pub(super) const MOST: i128 = 9_000_000_000_000_000_000;

/// A row is not as one was written.
pub(super) fn odd(error: impl std::fmt::Display) -> Fault {
    Fault::Other(format!("a row is not as it was written: {error}"))
}

/// An id.
pub(super) fn bytes<const N: usize>(id: &[u8]) -> [u8; N] {
    id.try_into().expect("an id has as many bytes as its type says")
}

/// An id that may be missing: zeros, which are none.
pub(super) fn some_bytes<const N: usize>(id: Option<&[u8]>) -> [u8; N] {
    id.map(bytes).unwrap_or([0; N])
}

/// An id.
pub(super) fn id<'a, T: TryFrom<&'a [u8], Error = NotAnId>>(bytes: &'a [u8]) -> Result<T, Fault> {
    T::try_from(bytes).map_err(odd)
}

/// What went wrong: group, type and message; zeros and nothing where all went well.
pub(super) fn told(failure: Option<Failure>) -> ([u8; 16], String, String) {
    failure.map_or_else(Default::default, |it| (bytes(it.group.as_bytes()), it.kind, it.message))
}

/// A day as the engine counts them.
pub(super) fn day_number(day: NaiveDate) -> u16 {
    let days = day.signed_duration_since(NaiveDate::default()).num_days();
    u16::try_from(days.max(0)).unwrap_or(u16::MAX - 1)
}

/// A time as the engine counts them.
pub(super) fn moment(micros: i64) -> Result<DateTime<Utc>, Fault> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| odd("a time out of range"))
}

/// A number that may be too large for the column it came from.
pub(super) fn whole(number: impl TryInto<i64, Error: std::fmt::Display>) -> Result<i64, Fault> {
    number.try_into().map_err(odd)
}

/// An object or a list, as text.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what came as JSON is JSON")
}

/// An object that was written as text.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, Fault> {
    serde_json::from_str(text).map_err(odd)
}
