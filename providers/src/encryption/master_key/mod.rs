//! Where the master key comes from: the environment, or a file that only the platform reads.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use base64::prelude::BASE64_STANDARD;
use domain::secret::Secret;
use thiserror::Error;

/// Length of the key in bytes.
const LENGTH: usize = 32;
/// Random keys have about 30 different bytes; one in 10^12 has fewer than these.
const FEWEST_DIFFERENT: usize = 16;

/// The key that documentation shows. It is refused, because people copy it.
pub const EXAMPLE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// 32 random bytes that wrap all other keys. Whoever has them reads everything.
pub struct MasterKey(Secret);

/// Why there is no master key.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The text is neither 32 bytes in base64 nor in hex.
    #[error("the master key must be 32 bytes, as 44 characters of base64 or 64 of hex")]
    Malformed,
    /// It can be guessed.
    #[error("the master key is weak: {0}; make one with `openssl rand -base64 32`")]
    Weak(&'static str),
    /// Others may read or have written the file.
    #[error("the master key file {path} {why}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file cannot be read or created.
    #[error("the master key file {path} cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system has no random bytes.
    #[error("no random bytes for a master key: {0}")]
    Random(getrandom::Error),
}

impl MasterKey {
    /// Reads 32 bytes in base64 (either alphabet, padded or not) or hex.
    pub fn parse(text: &Secret) -> Result<Self, MasterKeyError> {
        let text = text.expose().trim_ascii();
        let bytes = hex::decode(text)
            .or_else(|_| STANDARD_PAD_INDIFFERENT.decode(text))
            .or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(text))
            .map(Secret::new)
            .map_err(|_| MasterKeyError::Malformed)?;
        if bytes.expose().len() != LENGTH {
            return Err(MasterKeyError::Malformed);
        }
        match weakness(bytes.expose()) {
            Some(why) => Err(MasterKeyError::Weak(why)),
            None => Ok(Self(bytes)),
        }
    }

    /// The key of the environment if there is one, else that of the file, which is created if it is missing.
    /// Blocks for some file access.
    pub fn from_env_or_file(from_env: Option<&Secret>, path: &Path) -> Result<Self, MasterKeyError> {
        if let Some(text) = from_env {
            return Self::parse(text);
        }
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                File::open(path).map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        let exposed = |why| Err(MasterKeyError::Exposed { path: path.to_owned(), why });
        if !metadata.is_file() {
            return exposed("is no regular file");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return exposed("belongs to another user");
        }
        if metadata.mode() & 0o177 != 0 {
            return exposed("can be used by others: its mode must be 0600 or 0400");
        }
        let mut text = Vec::with_capacity(128); // never grows: no copy is left behind
        file.take(128).read_to_end(&mut text).map_err(failed)?;
        Self::parse(&Secret::new(text))
    }

    /// The bytes, for the one place that needs them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Makes a key. The file appears whole or not at all, and never replaces one.
fn create(path: &Path) -> Result<(), MasterKeyError> {
    let mut key = zeroize::Zeroizing::new([0; LENGTH]);
    getrandom::fill(&mut *key).map_err(MasterKeyError::Random)?;
    let text = Secret::new(BASE64_STANDARD.encode(*key) + "\n");
    let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?; // O_EXCL, mode 0600
    file.write_all(text.expose()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(()), // another was faster
        persisted => persisted.map_err(|error| failed(error.error))?,
    };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// What makes a key easy to guess, if anything does.
fn weakness(key: &[u8]) -> Option<&'static str> {
    let different = (0..=u8::MAX).filter(|byte| key.contains(byte)).count();
    let step = key[1].wrapping_sub(key[0]);
    if different == 1 {
        Some("all its bytes are the same")
    } else if different < FEWEST_DIFFERENT {
        Some("it has too few different bytes")
    } else if key.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
        Some("it counts up or down, like the examples of documentation")
    } else if key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        Some("it is text, not random bytes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
