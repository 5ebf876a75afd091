//! Why an endpoint refuses.

use thiserror::Error;

/// Refusals of the endpoint aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// No endpoint with this id.
    #[error("this endpoint does not exist")]
    Unknown,
    /// The id is another's.
    #[error("this endpoint exists already")]
    Exists,
    /// A webhook stays a webhook.
    #[error("an endpoint keeps its kind: make another one")]
    KindIsFixed,
    /// Only messages to webhooks are signed.
    #[error("only a webhook has a secret")]
    NotSigned,
    /// Nothing is sent to it.
    #[error("this endpoint is disabled: enable it first")]
    IsDisabled,
    /// Slack and mail are told of results alone.
    #[error("slack and email can be told of build and deployment results only, not of {0}")]
    NoResult(String),
    /// More than anybody needs.
    #[error("an endpoint names at most 100 event types, 100 projects and 50 recipients")]
    TooMany,
    /// A mail goes to somebody.
    #[error("an email endpoint needs a recipient")]
    NoRecipient,
}
