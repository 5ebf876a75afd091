//! Why a user's command is refused.

use thiserror::Error;

/// Refusals of the user aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UserError {
    /// Nobody with this id.
    #[error("this user does not exist")]
    Unknown,
    /// The id belongs to somebody with another identity.
    #[error("this user is registered with another identity")]
    OtherIdentity,
    /// The sign-in provider has the account no more.
    #[error("this account is disabled")]
    Disabled,
    /// No such session, or it has ended.
    #[error("this session does not exist")]
    UnknownSession,
    /// No such token, or it was revoked.
    #[error("this token does not exist")]
    UnknownToken,
}
