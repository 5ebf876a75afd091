//! The row: one span.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{SpanId, TraceId};
use crate::ids::DeploymentId;

/// One span, as it ended. Everything that senders choose freely is text or JSON, within the caps of who took it in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// The span, unique in its trace.
    pub span_id: SpanId,
    /// What it is part of.
    pub parent_id: Option<SpanId>,
    /// Whether it is where its trace entered the sender: without a parent, or with one in another program.
    pub is_root: bool,
    /// What its sender calls it.
    pub name: String,
    /// What sort of work it is, in the sender's words: `agent_run`, `chat`, `tool_call`, `server`.
    pub kind: String,
    /// How it ended.
    pub status: Status,
    /// What its sender says about that.
    pub status_message: Option<String>,
    /// When it began, in whole microseconds.
    pub started_at: DateTime<Utc>,
    /// How long it took, in microseconds.
    pub duration_us: i64,
    /// The name that the sending program has for itself.
    pub service: Option<String>,
    /// The deployment that it came from.
    pub deployment_id: Option<DeploymentId>,
    /// For whom, in the sender's words.
    pub user_id: Option<String>,
    /// In which conversation.
    pub session_id: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// The model that answered, or else the one that was asked.
    pub model: Option<String>,
    /// Who runs the model.
    pub provider: Option<String>,
    /// Tokens as they were reported.
    pub usage: Usage,
    /// Whether tokens and cost are this span's own.
    pub counting: Counting,
    /// What it cost, when it counts and that is known.
    pub cost: Option<Cost>,
    /// Everything else that was said about it.
    pub attributes: Map<String, Value>,
    /// What was said about its sender.
    pub resource: Map<String, Value>,
    /// What happened in it: a list of objects with `name`, `time` and `attributes`.
    pub events: Vec<Value>,
    /// Other spans that it has to do with: a list of objects with `traceId`, `spanId` and `attributes`.
    pub links: Vec<Value>,
}

/// How a span ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Its sender does not say.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Not well.
    Error,
}

impl Status {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Unset, Self::Ok, Self::Error].into_iter().find(|status| status.as_str() == name)
    }
}

/// Tokens as they were reported: the parts are contained in `input` and `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All that went in.
    pub input: i64,
    /// All that came out.
    pub output: i64,
    /// Of the input, what a cache of the provider knew.
    pub cache_read: i64,
    /// Of the input, what a cache of the provider took in.
    pub cache_write: i64,
    /// Of the input, sound.
    pub audio_input: i64,
    /// Of the output, what the model said to itself.
    pub reasoning: i64,
    /// Of the output, sound.
    pub audio_output: i64,
}

/// Whether the tokens of a span are its own. Agents and steps repeat the sum of what is below them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counting {
    /// It repeats others, or has none.
    #[default]
    Never,
    /// It is one call of a model.
    Call,
    /// It is a sum over the calls below it, one or two levels down; it counts where none of them was sent.
    UnlessBelow,
}

impl Counting {
    /// As it is stored.
    pub fn as_i16(self) -> i16 {
        match self {
            Self::Never => 0,
            Self::Call => 1,
            Self::UnlessBelow => 2,
        }
    }

    /// As it was stored.
    pub fn from_i16(stored: i16) -> Self {
        match stored {
            1 => Self::Call,
            2 => Self::UnlessBelow,
            _ => Self::Never,
        }
    }
}

/// What a call cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// In millionths of a millionth of a US dollar: the price of one token is a whole number of them.
    pub picos: i64,
    /// The price it was reckoned with, or `explicit` when its sender has said the cost.
    pub price: String,
}
