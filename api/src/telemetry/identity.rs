//! What a row is known by when its sender gives it no id: a digest of what it says, so that what is sent again is the
//! same row.

use domain::ports::telemetry::RecordId;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Collects what tells a row from others.
pub(super) struct Identity(Sha256);

impl Identity {
    /// Of one signal: the same words of another one are another row.
    pub(super) fn new(signal: &str) -> Self {
        Self(Sha256::new()).bytes(signal.as_bytes())
    }

    /// Each with its length: no two lists of them are the same bytes.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn number(self, number: i128) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    pub(super) fn object(self, map: &Map<String, Value>) -> Self {
        self.bytes(&serde_json::to_vec(map).unwrap_or_default())
    }

    pub(super) fn id(self) -> RecordId {
        RecordId::try_from(&self.0.finalize()[..16]).expect("a digest is not all zeros")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_are_another_row() {
        let of = |signal: &str, parts: [&str; 2]| {
            Identity::new(signal).bytes(parts[0].as_bytes()).bytes(parts[1].as_bytes()).id()
        };
        assert_eq!(of("log", ["a", "bc"]), of("log", ["a", "bc"]));
        assert_ne!(of("log", ["a", "bc"]), of("log", ["ab", "c"]));
        assert_ne!(of("log", ["a", "bc"]), of("score", ["a", "bc"]));
    }
}
