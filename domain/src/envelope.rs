//! Who did it, from where and why: the metadata of every event. Written by the command bus alone.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::ids::{TokenId, UserId};

/// Who acts. Written as `user:ID`, `token:ID`, `github:ID`, `process:NAME`, `system`,
/// `operator:NAME` or `anonymous`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actor {
    /// A person.
    User(UserId),
    /// A personal or project API token.
    Token(TokenId),
    /// A GitHub account, through a webhook.
    Github(String),
    /// A process manager.
    Process(String),
    /// The platform itself, at start.
    System,
    /// Somebody at the machine, through the replay tool or a setup option.
    Operator(String),
    /// Somebody who has not proved who he is.
    Anonymous,
}

impl Actor {
    /// The kind alone: `user`, `token`, `github`, `process`, `system`, `operator`, `anonymous`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Token(_) => "token",
            Self::Github(_) => "github",
            Self::Process(_) => "process",
            Self::System => "system",
            Self::Operator(_) => "operator",
            Self::Anonymous => "anonymous",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Github(id) => write!(f, "github:{id}"),
            Self::Process(name) => write!(f, "process:{name}"),
            Self::System => f.write_str("system"),
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

impl FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("unknown actor {text:?}");
        let Some((kind, id)) = text.split_once(':') else {
            return match text {
                "system" => Ok(Self::System),
                "anonymous" => Ok(Self::Anonymous),
                _ => Err(unknown()),
            };
        };
        match kind {
            "user" => id.parse().map(Self::User).map_err(|_| unknown()),
            "token" => id.parse().map(Self::Token).map_err(|_| unknown()),
            "github" => Ok(Self::Github(id.to_owned())),
            "process" => Ok(Self::Process(id.to_owned())),
            "operator" => Ok(Self::Operator(id.to_owned())),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> String {
        actor.to_string()
    }
}

/// The metadata of an event: flat strings, so that any tool can read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who did it.
    pub actor: Actor,
    /// For whom, when a token or process acts for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Actor>,
    /// The request or run that carried the command.
    pub request_id: String,
    /// The command's name: `SetEnvVar`.
    pub command: String,
    /// The event (`event:ID`) or request (`request:ID`) that led directly here.
    pub causation: String,
    /// The first cause of the chain.
    pub correlation: String,
    /// Ciphertext of the caller's address, under the caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Ciphertext of the caller's user agent, under the caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// W3C trace context of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Version of the software that wrote the event.
    pub app_version: String,
}

impl Envelope {
    /// As the map that cqrs-es and postgres-es keep.
    pub fn to_map(&self) -> HashMap<String, String> {
        let serde_json::Value::Object(fields) = serde_json::to_value(self).expect("plain strings serialise")
        else {
            unreachable!("a struct serialises as an object")
        };
        fields
            .into_iter()
            .filter_map(|(key, value)| match value {
                serde_json::Value::String(text) => Some((key, text)),
                _ => None,
            })
            .collect()
    }

    /// From the stored metadata. What another writer left out (stock postgres-es writes none) reads as `system`.
    pub fn read(metadata: &str) -> Self {
        serde_json::from_str(metadata)
            .unwrap_or_else(|_| Self::from_any(&serde_json::from_str(metadata).unwrap_or_default()))
    }

    fn from_any(metadata: &serde_json::Value) -> Self {
        let text = |key: &str| metadata.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        Self {
            actor: text("actor").and_then(|actor| actor.parse().ok()).unwrap_or(Actor::System),
            on_behalf_of: text("on_behalf_of").and_then(|actor| actor.parse().ok()),
            request_id: text("request_id").unwrap_or_default(),
            command: text("command").unwrap_or_default(),
            causation: text("causation").unwrap_or_default(),
            correlation: text("correlation").unwrap_or_default(),
            source_ip: text("source_ip"),
            user_agent: text("user_agent"),
            traceparent: text("traceparent"),
            app_version: text("app_version").unwrap_or_default(),
        }
    }
}

/// The metadata of an event as it is stored, JSON. Most events are passed by without a look at it, so it is read
/// when somebody asks first.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    text: Box<str>,
    envelope: OnceLock<Box<Envelope>>,
}

impl Metadata {
    /// As it is stored.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says.
    pub fn envelope(&self) -> &Envelope {
        self.envelope.get_or_init(|| Box::new(Envelope::read(&self.text)))
    }
}

impl From<String> for Metadata {
    fn from(text: String) -> Self {
        Self { text: text.into(), envelope: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_other_writers_is_read_as_far_as_it_goes() {
        for (text, command) in [
            ("", ""),
            ("null", ""),
            ("{}", ""),
            (r#"{ "command": "X", "request_id": 7 }"#, "X"),
            (r#"{ "actor": "nobody:1", "command": "X" }"#, "X"),
        ] {
            let envelope = Metadata::from(text.to_owned()).envelope().clone();
            assert_eq!((envelope.actor, envelope.command.as_str()), (Actor::System, command), "{text}");
        }
        let whole = Envelope { actor: Actor::Process("p".into()), ..Envelope::read("{}") };
        assert_eq!(Envelope::read(&serde_json::to_string(&whole).unwrap()), whole);
    }
}
