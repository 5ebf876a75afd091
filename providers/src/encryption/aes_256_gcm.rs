//! Wraps data keys with AES-256-GCM under a master key that this process holds.
//!
//! A wrapped key is one byte of version, 12 random bytes of nonce, the ciphertext and its tag of 16 bytes.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{KeyInit, Nonce};
use async_trait::async_trait;
use domain::ports::encryption::{Encryption, EncryptionError};
use domain::secret::Secret;
use sha2::{Digest, Sha256};

use super::master_key::{MasterKey, MasterKeyError};

const VERSION: u8 = 1;
const NONCE: usize = 12;

/// The master key, ready for use.
pub struct Aes256Gcm {
    cipher: aes_gcm::Aes256Gcm,
    name: String,
}

impl Aes256Gcm {
    /// Works with this key.
    pub fn new(key: &MasterKey) -> Self {
        let cipher = aes_gcm::Aes256Gcm::new_from_slice(key.bytes()).expect("a master key has 32 bytes");
        // The key is random: nobody finds it by its hash.
        let hash =
            Sha256::new().chain_update(b"mastra-admin master key\0").chain_update(key.bytes()).finalize();
        Self { cipher, name: format!("aes-256-gcm:{}", hex::encode(&hash[..6])) }
    }

    /// Works with a key given as text (see [`MasterKey::parse`]).
    pub fn from_key(key: &Secret) -> Result<Self, MasterKeyError> {
        MasterKey::parse(key).map(|key| Self::new(&key))
    }
}

#[async_trait]
impl Encryption for Aes256Gcm {
    fn name(&self) -> &str {
        &self.name
    }

    async fn wrap(&self, key: &Secret, context: &str) -> Result<Vec<u8>, EncryptionError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| EncryptionError::Unavailable(error.to_string()))?;
        let payload = Payload { msg: key.expose(), aad: context.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| EncryptionError::Unavailable("the key is too long".to_owned()))?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    async fn unwrap(&self, wrapped: &[u8], context: &str) -> Result<Secret, EncryptionError> {
        let (version, rest) = wrapped.split_first().ok_or(EncryptionError::WrongKey)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(EncryptionError::WrongKey)?;
        if *version != VERSION {
            return Err(EncryptionError::WrongKey);
        }
        let payload = Payload { msg: sealed, aad: context.as_bytes() };
        self.cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map(Secret::new)
            .map_err(|_| EncryptionError::WrongKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn cipher() -> Aes256Gcm {
        Aes256Gcm::from_key(&Secret::new(KEY)).unwrap()
    }

    #[tokio::test]
    async fn what_was_wrapped_comes_back_and_never_looks_the_same() {
        let key = Secret::new([7; 32]);
        let (one, other) = (cipher().wrap(&key, "a").await.unwrap(), cipher().wrap(&key, "a").await.unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 1 + 12 + 32 + 16);
        assert_eq!(one[0], VERSION);
        assert!(!one.windows(4).any(|four| four == [7; 4]));
        assert_eq!(cipher().unwrap(&one, "a").await, Ok(key));
    }

    #[test]
    fn its_name_tells_keys_apart_and_nothing_of_them() {
        assert_eq!(cipher().name(), cipher().name());
        let other = Aes256Gcm::from_key(&Secret::new(KEY.replace("9f", "9e"))).unwrap();
        assert_ne!(cipher().name(), other.name());
        assert_eq!(cipher().name().len(), "aes-256-gcm:".len() + 12);
        assert!(!KEY.contains(&cipher().name()["aes-256-gcm:".len()..]));
    }

    #[tokio::test]
    async fn another_key_context_version_or_any_changed_bit_opens_nothing() {
        let wrapped = cipher().wrap(&Secret::new([7; 32]), "project:1").await.unwrap();
        let other_key = Secret::new(KEY.replace("9f", "9e"));
        let other = Aes256Gcm::from_key(&other_key).unwrap();
        assert_eq!(other.unwrap(&wrapped, "project:1").await, Err(EncryptionError::WrongKey));
        assert_eq!(cipher().unwrap(&wrapped, "project:2").await, Err(EncryptionError::WrongKey));
        for bit in 0..wrapped.len() * 8 {
            let mut damaged = wrapped.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                cipher().unwrap(&damaged, "project:1").await,
                Err(EncryptionError::WrongKey),
                "bit {bit}"
            );
        }
        for length in 0..wrapped.len() {
            let cut = cipher().unwrap(&wrapped[..length], "project:1").await;
            assert_eq!(cut, Err(EncryptionError::WrongKey), "length {length}");
        }
    }
}
