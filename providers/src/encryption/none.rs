//! Wraps nothing: data keys stand in the database as they are. For trying things out on one's own machine.

use async_trait::async_trait;
use domain::ports::encryption::{Encryption, EncryptionError};
use domain::secret::Secret;

/// No master key at all.
pub struct NoEncryption;

/// What is stored in front of a data key, so that nothing else is taken for one.
const MARK: &[u8] = b"not encrypted:";

#[async_trait]
impl Encryption for NoEncryption {
    fn name(&self) -> &str {
        "none"
    }

    async fn wrap(&self, key: &Secret, context: &str) -> Result<Vec<u8>, EncryptionError> {
        Ok([MARK, context.as_bytes(), b"\0", key.expose()].concat())
    }

    async fn unwrap(&self, wrapped: &[u8], context: &str) -> Result<Secret, EncryptionError> {
        let begin = [MARK, context.as_bytes(), b"\0"].concat();
        wrapped.strip_prefix(begin.as_slice()).map(Secret::new).ok_or(EncryptionError::WrongKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_comes_back_for_its_owner_alone() {
        let wrapped = NoEncryption.wrap(&Secret::new([7; 32]), "project:1").await.unwrap();
        assert_eq!(NoEncryption.unwrap(&wrapped, "project:1").await, Ok(Secret::new([7; 32])));
        for (wrapped, context) in [(&wrapped[..], "project:2"), (&wrapped[1..], "project:1"), (&[], "")] {
            assert_eq!(NoEncryption.unwrap(wrapped, context).await, Err(EncryptionError::WrongKey));
        }
    }
}
