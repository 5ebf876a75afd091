//! A signed checkpoint: how large the log was, the root of its tree, and the checkpoint before.
//!
//! Its text is a signed note (C2SP `tlog-checkpoint`): name of the ledger, size, root, our own lines, an empty
//! line, one signature. What is signed is the text up to the empty line, without it.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::key::{PublicKey, SigningKey};
use super::tree::Hash;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the ledger.
    pub origin: String,
    /// How many events: the position of the last one.
    pub size: i64,
    /// Root of their tree.
    pub root: Hash,
    /// Its number, from 1, without holes.
    pub number: i64,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// SHA-256 of the signed text of the one before; zeros for the first.
    pub previous: Hash,
    /// The key that signs what follows, when it is another.
    pub next_key: Option<PublicKey>,
}

/// A checkpoint as it is stored and published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The whole note.
    pub note: String,
    /// Which key it names.
    key_hash: [u8; 4],
    signature: Vec<u8>,
}

/// The text is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
#[error("this is no signed checkpoint: {0}")]
pub struct NotACheckpoint(String);

impl Checkpoint {
    /// The text that is signed.
    fn text(&self) -> String {
        let Self { origin, size, root, number, at, previous, next_key } = self;
        let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let (root, previous) = (BASE64.encode(root), BASE64.encode(previous));
        let mut text = format!("{origin}\n{size}\n{root}\nnumber {number}\ntime {at}\nprevious {previous}\n");
        if let Some(key) = next_key {
            writeln!(text, "next-key {key}").expect("texts take all");
        }
        text
    }

    /// Signs it.
    pub fn sign(self, key: &SigningKey) -> Signed {
        let text = self.text();
        let (key_hash, signature) = (key.public().hash(), key.sign(text.as_bytes()));
        let signed = BASE64.encode([key_hash.as_slice(), &signature].concat());
        let note = format!("{text}\n\u{2014} {} {signed}\n", self.origin);
        Signed { checkpoint: self, note, key_hash, signature }
    }
}

impl Signed {
    /// Reads a note. Only the very text that we would write is one, so that nothing unseen is signed with it.
    pub fn parse(note: &str) -> Result<Self, NotACheckpoint> {
        let bad = |why: &str| NotACheckpoint(why.to_owned());
        let (text, signatures) = note.split_once("\n\n").ok_or_else(|| bad("it has no signature"))?;
        let mut lines = text.lines();
        let mut line = |what: &str| lines.next().ok_or_else(|| bad(&format!("it has no {what}")));
        let origin = line("name")?.to_owned();
        let size = number(line("size")?)?;
        let root = hash(line("root")?)?;
        let number = number(labelled(line("number")?, "number ")?)?;
        let at = labelled(line("time")?, "time ")?;
        let at = DateTime::parse_from_rfc3339(at).map_err(|_| bad("its time is none"))?.to_utc();
        let previous = hash(labelled(line("hash of the one before")?, "previous ")?)?;
        let next_key = match lines.next() {
            Some(line) => {
                let key = labelled(line, "next-key ")?;
                Some(key.parse().map_err(|_| bad("its next key is none"))?)
            }
            None => None,
        };
        let checkpoint = Checkpoint { origin, size, root, number, at, previous, next_key };
        let signature = signatures
            .strip_prefix(&format!("\u{2014} {} ", checkpoint.origin))
            .and_then(|rest| BASE64.decode(rest.strip_suffix('\n')?).ok())
            .ok_or_else(|| bad("its signature is not understood"))?;
        let Some((key_hash, signature)) = signature.split_first_chunk() else {
            return Err(bad("its signature is too short"));
        };
        if checkpoint.text().trim_end() != text {
            return Err(bad("it is not written as we write them"));
        }
        Ok(Self { checkpoint, note: note.to_owned(), key_hash: *key_hash, signature: signature.to_vec() })
    }

    /// Whether this key has signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.name == self.checkpoint.origin
            && key.hash() == self.key_hash
            && key.has_signed(self.checkpoint.text().as_bytes(), &self.signature)
    }

    /// By which it is named in the next one: SHA-256 of the signed text.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.checkpoint.text()).into()
    }
}

fn labelled<'a>(line: &'a str, label: &str) -> Result<&'a str, NotACheckpoint> {
    line.strip_prefix(label).ok_or_else(|| NotACheckpoint(format!("no line begins with {label:?}")))
}

fn number(text: &str) -> Result<i64, NotACheckpoint> {
    text.parse().map_err(|_| NotACheckpoint(format!("{text:?} is no number")))
}

fn hash(text: &str) -> Result<Hash, NotACheckpoint> {
    let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| NotACheckpoint(format!("{text:?} is no hash")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(next_key: Option<PublicKey>) -> Checkpoint {
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
        let (origin, previous) = ("mastra-admin/1".to_owned(), [0; 32]);
        Checkpoint { origin, size: 7, root: [9; 32], number: 3, at, previous, next_key }
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_signed_and_any_other_byte_shows() {
        let key = SigningKey::generate("mastra-admin/1");
        for next in [None, Some(SigningKey::generate("mastra-admin/1").public().clone())] {
            let signed = checkpoint(next).sign(&key);
            let read = Signed::parse(&signed.note).unwrap();
            assert_eq!(read, signed);
            assert!(read.is_signed_by(key.public()));
            assert!(!read.is_signed_by(SigningKey::generate("mastra-admin/1").public()));
            for at in 0..signed.note.len() {
                let mut bytes = signed.note.clone().into_bytes();
                bytes[at] ^= 1;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                let other = Signed::parse(&text);
                assert!(other.is_err() || !other.unwrap().is_signed_by(key.public()), "{at}: {text}");
            }
        }
    }
}
