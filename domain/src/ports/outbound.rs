//! How the platform tells others over HTTP what happens: addresses that anybody may have given.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::secret::Secret;

/// Posts to addresses that are not trusted.
#[async_trait]
pub trait Outbound: Send + Sync {
    /// Refuses an address that will never be posted to, as far as that can be told without asking for its name.
    fn check(&self, url: &str) -> Result<(), Barred>;

    /// Posts once. Redirects are answers like others.
    async fn post(&self, post: &Post) -> Result<Answered, PostError>;
}

/// What is posted, as JSON.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where.
    pub url: Secret,
    /// What.
    pub body: Vec<u8>,
    /// How it is signed; Slack wants no signature.
    pub signing: Option<Signing>,
}

/// A signature by Standard Webhooks.
#[derive(Clone, Debug)]
pub struct Signing {
    /// Id of the message: the same again for the same message.
    pub id: String,
    /// When it is sent, in seconds of the Unix epoch.
    pub timestamp: i64,
    /// The secrets, as `whsec_` and base64; a signature by each.
    pub secrets: Vec<Secret>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its beginning, as text.
    pub body: String,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// An address that is not posted to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Barred {
    /// It is none.
    #[error("must be an address with https:// and without a user")]
    NoAddress,
    /// Plain HTTP, but for addresses that the operator allows.
    #[error("must begin with https://")]
    NotPrivate,
    /// It leads into a network of one's own.
    #[error("must not lead into a private network")]
    Inside,
}

/// Nothing was answered.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct PostError(pub String);
