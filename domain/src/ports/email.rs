//! How the platform writes to people.

use async_trait::async_trait;
use thiserror::Error;

/// Sends mail.
#[async_trait]
pub trait Email: Send + Sync {
    /// Hands the mail over. The same `message_id` is the same mail: sending it again is harmless.
    async fn send(&self, mail: &Mail) -> Result<(), EmailError>;
}

/// One mail, text only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Derived from what caused it, so that a retry is no second mail.
    pub message_id: String,
    /// The receiver's address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

/// The mail was not handed over: worth another try.
#[derive(Debug, Error)]
#[error("mail could not be sent: {0}")]
pub struct EmailError(pub String);
