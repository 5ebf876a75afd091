//! The master key: wraps the keys that seal secrets and personal data.

use async_trait::async_trait;
use thiserror::Error;

use crate::secret::Secret;

/// Wraps and unwraps data keys. The master key itself never leaves the provider.
#[async_trait]
pub trait Encryption: Send + Sync {
    /// Stable name of the provider and of its master key, stored with each wrapped key. It tells nothing of the key.
    fn name(&self) -> &str;

    /// Encrypts a data key; `context` is bound to it and must be given again.
    async fn wrap(&self, key: &Secret, context: &str) -> Result<Vec<u8>, EncryptionError>;

    /// Decrypts a data key.
    async fn unwrap(&self, wrapped: &[u8], context: &str) -> Result<Secret, EncryptionError>;
}

/// Why a key could not be wrapped or unwrapped.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EncryptionError {
    /// Another master key, another context, or damaged bytes.
    #[error("the master key does not open this data key")]
    WrongKey,
    /// The provider could not be reached.
    #[error("the encryption provider failed: {0}")]
    Unavailable(String),
}
