//! The key files of an installation, in its data dir: `ledger.key` signs, `ledger.pub` is what to trust.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;

use super::LedgerError;
use super::key::{KeyError, PublicKey, SigningKey, read_public};
use super::note::Signed;

/// Where the keys are. A process that signs reads them each time: another may have put a new one there.
#[derive(Clone, Debug)]
pub struct KeyRing {
    dir: PathBuf,
}

impl KeyRing {
    /// The keys of this data dir.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The file that signs.
    fn private(&self) -> PathBuf {
        self.dir.join("ledger.key")
    }

    /// The key that a checkpoint has named, until it takes over.
    fn next(&self) -> PathBuf {
        self.dir.join("ledger.next.key")
    }

    /// What to give to who checks proofs: every public key, the oldest first.
    pub fn public(&self) -> Result<Vec<PublicKey>, KeyError> {
        read_public(&self.public_file())
    }

    /// The file of the public keys.
    pub fn public_file(&self) -> PathBuf {
        self.dir.join("ledger.pub")
    }

    /// The key that continues a chain whose newest checkpoint is this. Made when there is neither key nor chain.
    pub(super) fn signer(&self, newest: Option<&Signed>) -> Result<SigningKey, LedgerError> {
        let key = SigningKey::read(&self.private())?;
        let Some(newest) = newest else {
            let Some(key) = key else { return Ok(self.begin()?) };
            self.trust(key.public())?;
            return Ok(key);
        };
        if let Some(named) = &newest.checkpoint.next_key {
            if let Some(key) = key.filter(|key| key.public() == named) {
                return Ok(key);
            }
            let next = SigningKey::read(&self.next())?.filter(|key| key.public() == named);
            let next = next.ok_or_else(|| LedgerError::NoKey(self.next()))?;
            self.take_over(&next)?;
            return Ok(next);
        }
        let key = key.ok_or_else(|| LedgerError::NoKey(self.private()))?;
        if newest.is_signed_by(key.public()) {
            return Ok(key);
        }
        Err(LedgerError::OtherKey { number: newest.checkpoint.number, ours: key.public().clone() })
    }

    /// A new key of the same ledger, not in use yet.
    pub(super) fn make_next(&self, origin: &str) -> Result<SigningKey, KeyError> {
        let key = SigningKey::generate(origin);
        key.write(&self.next())?;
        Ok(key)
    }

    /// The key that was made is the one that signs from now on; the old one is gone.
    pub(super) fn take_over(&self, next: &SigningKey) -> Result<(), KeyError> {
        let failed = |source| KeyError::File { path: self.next(), source };
        self.trust(next.public())?;
        std::fs::rename(self.next(), self.private()).map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    fn begin(&self) -> Result<SigningKey, KeyError> {
        let mut random = [0; 8];
        rand::fill(&mut random).expect("the operating system has random bytes");
        let key = SigningKey::generate(&format!("mastra-admin/{}", hex::encode(random)));
        self.trust(key.public())?;
        key.write(&self.private())?;
        Ok(key)
    }

    fn trust(&self, key: &PublicKey) -> Result<(), KeyError> {
        let path = self.public_file();
        if path.exists() && self.public()?.contains(key) {
            return Ok(());
        }
        let write = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{key}\n").as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| KeyError::File { path: path.clone(), source })
    }
}
