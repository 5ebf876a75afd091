//! How the platform writes to people.

use async_trait::async_trait;
use thiserror::Error;

/// Sends mail.
#[async_trait]
pub trait Email: Send + Sync {
    /// Hands the mail over. The same `message_id` is the same mail: sending it again is harmless.
    async fn send(&self, mail: &Mail) -> Result<(), EmailError>;
}

/// One mail, the same twice: for who reads text and for who reads HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Derived from what caused it, so that a retry is no second mail; without the name of a host behind it.
    pub message_id: String,
    /// The receiver's address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same as HTML, without anything that is fetched from somewhere.
    pub html: String,
}

/// The mail was not handed over.
#[derive(Debug, Error)]
pub enum EmailError {
    /// Worth another try.
    #[error("mail could not be sent: {0}")]
    Later(String),
    /// It would be refused again and again.
    #[error("mail is refused: {0}")]
    Never(String),
}
