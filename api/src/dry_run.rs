//! What a dry run answers: the events that the command would append.

use axum::response::{IntoResponse, Response};
use commands::Preview;
use domain::ids::UserId;
use domain::user::{User, UserCommand};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;

/// The answer to a dry run of a request that sends several commands to its caller.
pub(crate) async fn rehearsed(
    platform: &Platform,
    id: UserId,
    commands: Vec<UserCommand>,
    caller: &Caller,
) -> Result<ApiError, ApiError> {
    let shown = platform.commands.rehearse::<User>(id, commands, &caller.context(None)).await?;
    Ok(ApiError::DryRun(shown))
}

/// The events, as they would stand in the log.
pub(crate) fn answer(events: Vec<Preview>) -> Response {
    let shown = |event: Preview| {
        let payload = hide(event.payload);
        json!({ "aggregateType": event.aggregate_type, "type": event.event_type, "payload": payload })
    };
    let events: Vec<Value> = events.into_iter().map(shown).collect();
    axum::Json(json!({ "events": events })).into_response()
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
