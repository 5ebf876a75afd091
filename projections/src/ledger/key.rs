//! The ledger's Ed25519 keys: the private one that signs, and the public ones that others trust.
//!
//! Both are written as signed notes have them (`sumdb/note` of Go, C2SP `signed-note`), so that foreign tools
//! read them: `NAME+HASH+BASE64` and `PRIVATE+KEY+NAME+HASH+BASE64`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

/// Ed25519, in signed notes.
const ALGORITHM: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";

/// A public key: who has it can check signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The ledger that it belongs to.
    pub name: String,
    bytes: [u8; 32],
}

/// A key that signs.
pub struct SigningKey {
    public: PublicKey,
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

/// Why a key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The text is no key of a signed note.
    #[error("{0:?} is no public key of a ledger: it must be NAME+HASH+BASE64")]
    Malformed(String),
    /// The private key is damaged.
    #[error("the private key {0} is damaged")]
    Damaged(PathBuf),
    /// Others may read or have written the private key.
    #[error("the private key {0} can be used by others: its mode must be 0600 or 0400")]
    Exposed(PathBuf),
    /// The file cannot be read or written.
    #[error("the key file {path} cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl PublicKey {
    /// Names the key in signatures: the first four bytes of SHA-256 over name and key.
    pub fn hash(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ALGORITHM]);
        let hash = hash.chain_update(self.bytes).finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether the signature is this key's.
    pub fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(text, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ALGORITHM], self.bytes.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.hash()), BASE64.encode(key))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let read = || {
            let (name, rest) = text.trim().split_once('+')?;
            let (hash, key) = rest.split_once('+')?;
            let key = BASE64.decode(key).ok()?;
            let (ALGORITHM, bytes) = key.split_first().map(|(first, rest)| (*first, rest))? else {
                return None;
            };
            let key = Self { name: name.to_owned(), bytes: bytes.try_into().ok()? };
            (hex::encode(key.hash()) == hash && !name.is_empty()).then_some(key)
        };
        read().ok_or_else(|| KeyError::Malformed(text.to_owned()))
    }
}

impl SigningKey {
    /// A new key of the ledger with this name.
    pub fn generate(name: &str) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(&mut *seed).expect("the operating system has random bytes");
        Self::from_seed(name, seed).expect("any 32 bytes are a seed")
    }

    fn from_seed(name: &str, seed: Zeroizing<[u8; 32]>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).ok()?;
        let bytes = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { public: PublicKey { name: name.to_owned(), bytes }, pair, seed })
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs.
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }

    /// Reads the key of a file that nobody else can read; none when there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.mode() & 0o177 != 0 {
            return Err(KeyError::Exposed(path.to_owned()));
        }
        let text = Zeroizing::new(io::read_to_string(file).map_err(failed)?);
        Self::parse(text.trim()).map(Some).ok_or_else(|| KeyError::Damaged(path.to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PRIVATE)?.splitn(3, '+');
        let (name, hash, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = Zeroizing::new(BASE64.decode(key).ok()?);
        let (first, seed) = key.split_first()?;
        let key = Self::from_seed(name, Zeroizing::new(seed.try_into().ok()?))?;
        (*first == ALGORITHM && hex::encode(key.public.hash()) == hash).then_some(key)
    }

    /// Writes it to a new file that nobody else can read. The file appears whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let key = Zeroizing::new([&[ALGORITHM], self.seed.as_slice()].concat());
        let PublicKey { name, .. } = &self.public;
        let key = Zeroizing::new(BASE64.encode(&*key));
        let text = Zeroizing::new(format!("{PRIVATE}{name}+{}+{}\n", hex::encode(self.public.hash()), *key));
        let part = path.with_extension("part");
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(failed)
    }
}

/// Reads the public keys of a file, one a line.
pub fn read_public(path: &Path) -> Result<Vec<PublicKey>, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let keys: Vec<PublicKey> =
        text.lines().filter(|line| !line.trim().is_empty()).map(str::parse).collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(KeyError::Malformed(text)) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_was_written_is_read_again_by_its_owner_alone() {
        let dir = std::env::temp_dir().join(format!("ledger-key-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("ledger.key");
        assert!(SigningKey::read(&path).unwrap().is_none());
        let key = SigningKey::generate("mastra-admin/1");
        key.write(&path).unwrap();
        let again = SigningKey::read(&path).unwrap().unwrap();
        let public: PublicKey = key.public().to_string().parse().unwrap();
        assert!(public.has_signed(b"text", &again.sign(b"text")));
        assert!(!public.has_signed(b"other", &again.sign(b"text")));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::read(&path), Err(KeyError::Exposed(_))));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn keys_are_written_as_other_tools_write_them() {
        // From the documentation of Go's sumdb/note.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        for bad in ["", "a+b", &text.replace("c74f", "c74e"), &text.replace("ARpc", "AhZc")] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }
}
