//! What the tests of the aggregates share.

use uuid::Uuid;

use crate::ids::SecretId;
use crate::sealed::{KeyOwner, Sealed};

/// A sealed value that compares by its text.
pub(crate) fn sealed(text: &str) -> Sealed {
    Sealed {
        id: SecretId(Uuid::from_u128(7)),
        key: KeyOwner::System,
        data: "AAAA".into(),
        mark: text.to_owned(),
    }
}
