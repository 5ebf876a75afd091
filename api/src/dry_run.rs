//! What a dry run answers: the events that the command would append.

use axum::response::{IntoResponse, Response};
use commands::{CommandError, Context, Mode, Preview, Step};
use domain::ids::UserId;
use domain::user::UserCommand;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;

/// What several commands to one person would append, one after the other.
pub(crate) async fn rehearse(
    platform: &Platform,
    id: UserId,
    commands: Vec<UserCommand>,
    context: &Context,
) -> Result<Vec<Preview>, ApiError> {
    let steps: Vec<Step> = commands.into_iter().map(|command| Step::User(id, command)).collect();
    let context = Context { mode: Mode::DryRun, ..context.clone() };
    match platform.commands.together(&steps, &context).await {
        Err(CommandError::DryRun(previews)) => Ok(previews),
        answer => answer.map(|_| vec![]).map_err(ApiError::from),
    }
}

/// The answer to a dry run of a request that sends several commands to its caller.
pub(crate) async fn rehearsed(
    platform: &Platform,
    id: UserId,
    commands: Vec<UserCommand>,
    caller: &Caller,
) -> Result<ApiError, ApiError> {
    Ok(ApiError::DryRun(rehearse(platform, id, commands, &caller.context(None)).await?))
}

/// The events, as they would stand in the log.
pub(crate) fn answer(events: Vec<Preview>) -> Response {
    axum::Json(told(events)).into_response()
}

/// The same with what would be different then.
pub(crate) fn answer_with(events: Vec<Preview>, diff: Value) -> Response {
    let mut told = told(events);
    told["diff"] = diff;
    axum::Json(told).into_response()
}

fn told(events: Vec<Preview>) -> Value {
    let shown = |event: Preview| {
        let payload = hide(event.payload);
        json!({ "aggregateType": event.aggregate_type, "type": event.event_type, "payload": payload })
    };
    let events: Vec<Value> = events.into_iter().map(shown).collect();
    json!({ "events": events })
}

/// Sealed values by their marks alone.
fn hide(value: Value) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("mark") && fields.contains_key("data") => {
            json!({ "sealed": fields["mark"] })
        }
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, hide(value))).collect(),
        Value::Array(values) => values.into_iter().map(hide).collect(),
        other => other,
    }
}
