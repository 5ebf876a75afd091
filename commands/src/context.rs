//! What comes with every command: who, from where, why, when, and how often it may happen.

use chrono::{DateTime, Utc};
use domain::envelope::Actor;
use domain::ids::{EventId, TeamId};

/// The circumstances of a command. Made in `api` and `processes`, where clock and random are.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who does it.
    pub actor: Actor,
    /// For whom, when a token or a process acts for a person.
    pub on_behalf_of: Option<Actor>,
    /// The tenant.
    pub team_id: Option<TeamId>,
    /// The request or run that carries the command.
    pub request_id: String,
    /// The event that led here; the request itself when absent.
    pub causation: Option<EventId>,
    /// The first cause of the chain; the request itself when absent.
    pub correlation: Option<String>,
    /// The caller's address.
    pub source_ip: Option<String>,
    /// The caller's user agent.
    pub user_agent: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Now.
    pub at: DateTime<Utc>,
    /// Under which the command happens once.
    pub key: Option<IdempotencyKey>,
    /// The version that the aggregate must have.
    pub expected: Expected,
    /// Whether the events are only shown, not appended.
    pub mode: Mode,
}

/// Which version an aggregate must have for a command to it: the number of its last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whichever it has. Decided anew when somebody else was faster.
    #[default]
    Any,
    /// None: nothing has happened to it yet. It is not looked for before the log refuses.
    New,
    /// This one (`If-Match`).
    Exactly(i64),
}

impl Expected {
    /// The version, where it is known.
    pub(crate) fn version(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::New => Some(0),
            Self::Exactly(version) => Some(version),
        }
    }

    /// The version that was asked for, where an aggregate has another.
    pub(crate) fn missed(self, actual: i64) -> Option<i64> {
        self.version().filter(|expected| *expected != actual)
    }
}

/// Whether the command is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    #[default]
    Append,
    /// Everything is checked, nothing is appended.
    DryRun,
}

/// A caller's name for a command that must happen once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose key: keys of different callers never meet.
    pub scope: String,
    /// The key.
    pub key: String,
    /// Hash of the request: the same key with another request is refused.
    pub request_hash: String,
}

impl Context {
    /// A command of a process, caused by an event.
    pub fn process(
        name: &str,
        team_id: Option<TeamId>,
        cause: EventId,
        correlation: String,
        request_id: String,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            team_id,
            causation: Some(cause),
            correlation: Some(correlation),
            ..Self::bare(Actor::Process(name.to_owned()), request_id, at)
        }
    }

    /// A command of nobody in particular: no tenant, no address, no key.
    pub fn bare(actor: Actor, request_id: String, at: DateTime<Utc>) -> Self {
        Self {
            actor,
            on_behalf_of: None,
            team_id: None,
            request_id,
            causation: None,
            correlation: None,
            source_ip: None,
            user_agent: None,
            traceparent: None,
            at,
            key: None,
            expected: Expected::Any,
            mode: Mode::Append,
        }
    }

    /// The same command to an aggregate that it makes: nobody needs to look whether it is there.
    pub fn of_new(self) -> Self {
        let expected = if self.expected == Expected::Any { Expected::New } else { self.expected };
        Self { expected, ..self }
    }

    /// The same command under a key of its own: process, cause and step name it, so that doing it again does
    /// it once.
    pub fn once(self, step: &str) -> Self {
        let cause = self.causation.map(|id| id.to_string()).unwrap_or_else(|| self.request_id.clone());
        let key = IdempotencyKey {
            scope: self.actor.to_string(),
            key: format!("{cause}/{step}"),
            request_hash: step.to_owned(),
        };
        Self { key: Some(key), ..self }
    }
}
