//! How a command ends.

use domain::claim::ClaimScope;
use domain::fact::UnreadableEvent;
use serde_json::Value;
use thiserror::Error;

use crate::vault::VaultError;

/// A command that was carried out, now or, with the same key, before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The aggregate that decided. With a repeated key: that of the first time.
    pub aggregate_id: String,
    /// Its version: the number of its last event.
    pub version: i64,
    /// Position of its last event in the log.
    pub position: i64,
    /// Whether the key had been used for the same command before.
    pub repeated: bool,
}

/// A command that was not carried out. Nothing of it is stored.
#[derive(Debug, Error)]
pub enum CommandError<E: std::error::Error + 'static> {
    /// The aggregate says no.
    #[error(transparent)]
    Refused(E),
    /// The aggregate has another version than `If-Match` asks for, or kept changing under every try.
    #[error("the resource has version {actual}, not {expected}")]
    Conflict {
        /// The version that was asked for.
        expected: i64,
        /// The version it has.
        actual: i64,
    },
    /// Somebody else has the name.
    #[error("{} {key:?} is taken", .scope.as_str())]
    NameTaken {
        /// What kind of name.
        scope: ClaimScope,
        /// The name in its comparable form.
        key: String,
    },
    /// The key was used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// A dry run: this would have been appended.
    #[error("dry run")]
    DryRun(Vec<Preview>),
    /// The log or a key could not be reached, or does not read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: std::error::Error + 'static> CommandError<E> {
    /// The same with another aggregate's error.
    pub fn map_refused<F: std::error::Error + 'static>(self, map: impl FnOnce(E) -> F) -> CommandError<F> {
        match self {
            Self::Refused(error) => CommandError::Refused(map(error)),
            Self::Conflict { expected, actual } => CommandError::Conflict { expected, actual },
            Self::NameTaken { scope, key } => CommandError::NameTaken { scope, key },
            Self::KeyReused => CommandError::KeyReused,
            Self::DryRun(previews) => CommandError::DryRun(previews),
            Self::Store(error) => CommandError::Store(error),
        }
    }
}

/// An event that a dry run would append.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Kind of its aggregate.
    pub aggregate_type: &'static str,
    /// Its stable type.
    pub event_type: String,
    /// Its payload.
    pub payload: Value,
}

/// The log failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// PostgreSQL said no or could not be reached.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event of the log does not read.
    #[error("the log holds an event that cannot be read")]
    Unreadable(#[from] UnreadableEvent),
    /// A key could not be had.
    #[error("a data key could not be used")]
    Vault(#[from] VaultError),
    /// The event is larger than the log takes.
    #[error("an event of {bytes} bytes is larger than the log takes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The appender has ended: the server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The append function answered something this version does not know.
    #[error("the append function answered {0:?}")]
    Answer(String),
}
