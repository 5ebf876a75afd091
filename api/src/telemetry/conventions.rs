//! What attributes mean, in the spellings of several generations: OpenTelemetry GenAI (`gen_ai.*`, also the deprecated
//! ones), OpenInference (`llm.*`), Vercel's AI SDK (`ai.*`), Mastra's OpenTelemetry exporter (`mastra.*`).

use domain::ids::DeploymentId;
use domain::ports::telemetry::{Counting, Usage};
use domain::pricing::{ASKED_MODEL, ASKED_MODEL_OF_MASTRA};
use serde_json::{Map, Value};

type Attributes = Map<String, Value>;

/// What a span says about itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Meaning {
    pub(super) kind: Option<String>,
    /// The model that answered.
    pub(super) model: Option<String>,
    /// The model that was asked.
    pub(super) asked_model: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) usage: Usage,
    pub(super) counting: Counting,
    /// What its sender says that it cost, in US dollars.
    pub(super) cost: Option<f64>,
    pub(super) user: Option<String>,
    pub(super) session: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) deployment: Option<DeploymentId>,
}

/// No call takes more tokens: a number beyond is no count.
const MOST_TOKENS: f64 = 1e12;

const INPUT: &[&str] = &[
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "ai.usage.inputTokens",
    "ai.usage.promptTokens",
    "ai.usage.tokens",
    "llm.usage.prompt_tokens",
];
const OUTPUT: &[&str] = &[
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "ai.usage.outputTokens",
    "ai.usage.completionTokens",
    "llm.usage.completion_tokens",
];
const CACHE_READ: &[&str] = &[
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
    "ai.usage.cachedInputTokens",
    "ai.usage.inputTokenDetails.cacheReadTokens",
];
const CACHE_WRITE: &[&str] = &[
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
    "ai.usage.inputTokenDetails.cacheWriteTokens",
];
const REASONING: &[&str] = &[
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
    "ai.usage.reasoningTokens",
    "ai.usage.outputTokenDetails.reasoningTokens",
];
const MODEL: &[&str] =
    &["gen_ai.response.model", "ai.response.model", "llm.model_name", "embedding.model_name"];
const PROVIDER: &[&str] =
    &["gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider"];
const KIND: &[&str] = &[
    "mastra.span.type",
    "gen_ai.operation.name",
    "openinference.span.kind",
    "ai.operationId",
    "operation.name",
];
const COST: &[&str] = &["gen_ai.usage.cost", "llm.cost.total"];
const USER: &[&str] = &[
    "user.id",
    "enduser.id",
    "ai.telemetry.metadata.userId",
    "mastra.metadata.userId",
    "mastra.metadata.resourceId",
];
const SESSION: &[&str] = &[
    "session.id",
    "gen_ai.conversation.id",
    "ai.telemetry.metadata.sessionId",
    "mastra.metadata.sessionId",
    "mastra.metadata.threadId",
];
const TAGS: &[&str] = &["tag.tags", "mastra.tags"];
const DEPLOYMENT: &[&str] = &["mastra.deployment.id", "deployment.id"];

/// What attributes mean; some are said once for all by the resource.
pub(super) fn meaning(said: &Attributes, resource: &Attributes) -> Meaning {
    let text = |keys: &[&str]| find(said, keys).and_then(as_text);
    Meaning {
        kind: text(KIND).map(|kind| kind.to_lowercase()),
        model: text(MODEL),
        asked_model: text(&ASKED_MODEL),
        provider: text(PROVIDER).map(|name| provider(&name).to_owned()),
        usage: usage(said),
        counting: counting(said),
        cost: find(said, COST).and_then(as_number),
        user: text(USER).or_else(|| find(resource, USER).and_then(as_text)),
        session: text(SESSION).or_else(|| find(resource, SESSION).and_then(as_text)),
        tags: find(said, TAGS).map(as_list).unwrap_or_default(),
        deployment: deployment(said, resource),
    }
}

/// The deployment that speaks, where attributes or the resource say so.
pub(super) fn deployment(said: &Attributes, resource: &Attributes) -> Option<DeploymentId> {
    let id =
        find(said, DEPLOYMENT).and_then(as_text).or_else(|| find(resource, DEPLOYMENT).and_then(as_text));
    id.and_then(|id| id.parse().ok())
}

/// The same in Mastra's own format: `attributes` and `metadata` of one span.
pub(super) fn of_mastra(kind: &str, span: &Value) -> Meaning {
    let (said, more) = (&span["attributes"], &span["metadata"]);
    let text = |value: &Value| as_text(value);
    let (usage, count) = (&said["usage"], |value: &Value| as_count(value).unwrap_or_default());
    let (input, output) = (&usage["inputDetails"], &usage["outputDetails"]);
    Meaning {
        kind: Some(kind.to_owned()),
        model: text(&said["responseModel"]),
        asked_model: ASKED_MODEL_OF_MASTRA
            .iter()
            .find_map(|path| text(path.iter().fold(span, |within, key| &within[*key]))),
        provider: text(&said["provider"]).map(|name| provider(&name).to_owned()),
        usage: Usage {
            input: count(&usage["inputTokens"]),
            output: count(&usage["outputTokens"]),
            cache_read: count(&input["cacheRead"]),
            cache_write: count(&input["cacheWrite"]),
            audio_input: count(&input["audio"]),
            reasoning: count(&output["reasoning"]),
            audio_output: count(&output["audio"]),
        },
        counting: of_mastra_type(kind),
        cost: as_number(&usage["cost"]),
        user: text(&more["userId"]).or_else(|| text(&more["resourceId"])),
        session: ["sessionId", "threadId"]
            .iter()
            .find_map(|key| text(&more[key]))
            .or_else(|| text(&said["conversationId"])),
        tags: as_list(&span["tags"]),
        deployment: text(&more["deploymentId"]).and_then(|id| id.parse().ok()),
    }
}

fn usage(said: &Attributes) -> Usage {
    let count = |keys: &[&str]| find(said, keys).and_then(as_count).unwrap_or_default();
    Usage {
        input: count(INPUT),
        output: count(OUTPUT),
        cache_read: count(CACHE_READ),
        cache_write: count(CACHE_WRITE),
        audio_input: count(&["llm.token_count.prompt_details.audio"]),
        reasoning: count(REASONING),
        audio_output: count(&["llm.token_count.completion_details.audio"]),
    }
}

/// Whether tokens are a span's own. Who says the most exactly what it is is believed first.
fn counting(said: &Attributes) -> Counting {
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    if let Some(kind) = text("mastra.span.type") {
        return of_mastra_type(kind);
    }
    if let Some(operation) = text("ai.operationId") {
        let is_call = [".doGenerate", ".doStream", ".doEmbed"].iter().any(|end| operation.ends_with(end));
        let is_sum =
            ["ai.generate", "ai.stream", "ai.embed"].iter().any(|begin| operation.starts_with(begin));
        return match (is_call, is_sum) {
            (true, _) => Counting::Call,
            (false, true) => Counting::UnlessBelow,
            (false, false) => Counting::Never,
        };
    }
    if let Some(kind) = text("openinference.span.kind") {
        let is_call = ["LLM", "EMBEDDING"].iter().any(|call| kind.eq_ignore_ascii_case(call));
        return if is_call { Counting::Call } else { Counting::Never };
    }
    match text("gen_ai.operation.name") {
        Some("chat" | "completion" | "text_completion" | "generate_content" | "embeddings") => Counting::Call,
        Some(_) => Counting::Never,
        // Before there were names of operations, what had tokens was a call.
        None if find(said, INPUT).or(find(said, OUTPUT)).is_some() => Counting::Call,
        None => Counting::Never,
    }
}

fn of_mastra_type(kind: &str) -> Counting {
    match kind {
        "model_inference" => Counting::Call,
        // Before there were inferences, it was the call itself.
        "model_generation" => Counting::UnlessBelow,
        _ => Counting::Never,
    }
}

/// The AI SDK names the interface behind the provider, too.
fn provider(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((name, "chat" | "responses" | "messages" | "completion" | "embedding" | "generative-ai")) => {
            name
        }
        _ => name,
    }
}

fn find<'a>(said: &'a Attributes, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| said.get(*key)).filter(|value| !value.is_null())
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Tokens: nothing that is negative, no number or more than there can be.
#[expect(clippy::cast_possible_truncation, reason = "it is in the range")]
fn as_count(value: &Value) -> Option<i64> {
    let number = as_number(value)?;
    (0.0..=MOST_TOKENS).contains(&number).then_some(number as i64)
}

/// Texts in a list, or in a text that is a list in JSON.
fn as_list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(as_text).collect(),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => items.iter().filter_map(as_text).collect(),
            _ => vec![text.clone()],
        },
        _ => vec![],
    }
}
