//! What an endpoint is: where it leads, and what it is told of.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::EndpointError;
use crate::ids::{ProjectId, UserId};
use crate::sealed::Sealed;
use crate::values::DisplayName;

/// What Slack and mail can be told of: how builds and deployments ended.
pub const RESULTS: [&str; 5] = [
    "build.succeeded",
    "build.failed",
    "deployment.activated",
    "deployment.failed",
    "deployment.rolled_back",
];

/// Event types, projects and recipients that an endpoint names at most.
const MOST: (usize, usize, usize) = (100, 100, 50);

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointSettings {
    /// Its name.
    pub name: DisplayName,
    /// Where it leads.
    pub target: Target,
    /// What it is told of; everything that its kind can be told of when empty.
    #[serde(default)]
    pub events: BTreeSet<EventPattern>,
    /// About which projects, their builds and deployments; everything of the team when empty.
    #[serde(default)]
    pub projects: BTreeSet<ProjectId>,
}

/// Where an endpoint leads. Addresses are sealed: they often are secrets themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// Events as JSON, signed by Standard Webhooks.
    Webhook {
        /// Its address.
        url: Sealed,
    },
    /// An incoming webhook of Slack, or of what understands the same.
    Slack {
        /// Its address: whoever has it may post.
        url: Sealed,
    },
    /// Mail to members of the team.
    Email {
        /// Who gets it, for as long as he is a member.
        to: BTreeSet<UserId>,
    },
}

/// The kind of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the target of its name")]
pub enum Kind {
    Webhook,
    Slack,
    Email,
}

/// A type of events (`build.failed`), or all of a kind (`build.*`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventPattern(String);

/// What names no type of events.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must name a type of events (build.failed), or all of a kind (build.*)")]
pub struct InvalidPattern;

impl Target {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Webhook { .. } => Kind::Webhook,
            Self::Slack { .. } => Kind::Slack,
            Self::Email { .. } => Kind::Email,
        }
    }

    /// Its sealed address.
    pub fn url(&self) -> Option<&Sealed> {
        match self {
            Self::Webhook { url } | Self::Slack { url } => Some(url),
            Self::Email { .. } => None,
        }
    }
}

impl Kind {
    /// Its stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Email => "email",
        }
    }
}

impl EndpointSettings {
    /// Whether it is told of events of this type, about whatever.
    pub fn wants(&self, event_type: &str) -> bool {
        let is_possible = self.target.kind() == Kind::Webhook || RESULTS.contains(&event_type);
        let is_wanted = self.events.is_empty() || self.events.iter().any(|event| event.covers(event_type));
        is_possible && is_wanted
    }

    /// Whether both are the same, however often their address was sealed.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_url = match (self.target.url(), other.target.url()) {
            (Some(url), Some(other)) => url.same_value(other),
            _ => self.target == other.target,
        };
        same_url
            && (&self.name, &self.events, &self.projects) == (&other.name, &other.events, &other.projects)
    }

    pub(super) fn check(&self) -> Result<(), EndpointError> {
        let (events, projects, recipients) = MOST;
        if self.events.len() > events || self.projects.len() > projects {
            return Err(EndpointError::TooMany);
        }
        match &self.target {
            Target::Email { to } if to.is_empty() => return Err(EndpointError::NoRecipient),
            Target::Email { to } if to.len() > recipients => return Err(EndpointError::TooMany),
            Target::Webhook { .. } => return Ok(()),
            Target::Email { .. } | Target::Slack { .. } => {}
        }
        let is_result = |event: &&EventPattern| RESULTS.iter().any(|result| event.covers(result));
        match self.events.iter().find(|event| !is_result(event)) {
            Some(other) => Err(EndpointError::NoResult(other.to_string())),
            None => Ok(()),
        }
    }
}

impl EventPattern {
    /// Whether events of this type are meant.
    pub fn covers(&self, event_type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(kind) => event_type.starts_with(kind),
            None => self.0 == event_type,
        }
    }
}

impl FromStr for EventPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let is_word = |word: &str| {
            (1..=60).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        match text.split_once('.') {
            Some((kind, rest)) if is_word(kind) && (rest == "*" || is_word(rest)) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidPattern),
        }
    }
}

impl TryFrom<String> for EventPattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> String {
        pattern.0
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
