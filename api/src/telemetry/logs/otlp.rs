//! OTLP: `resourceLogs`, in protobuf and in JSON.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{LogRecord, Severity};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord as Sent;
use serde_json::{Map, Value};

use super::said::{Lines, Said};
use crate::error::ApiError;
use crate::telemetry::batch::Batch;
use crate::telemetry::conventions;
use crate::telemetry::mastra::optional_id;
use crate::telemetry::otlp::{Format, json, protobuf};
use crate::telemetry::resource::Resource;
use crate::telemetry::walk::parsed;

/// Reads a body.
pub(super) fn read(
    format: Format,
    body: &[u8],
    from: Option<DeploymentId>,
) -> Result<Batch<LogRecord>, ApiError> {
    let mut lines = Lines::default();
    match format {
        Format::Protobuf => {
            let request: ExportLogsServiceRequest = protobuf::decode(body)?;
            for sender in request.resource_logs {
                let resource = protobuf::of_sender(sender.resource);
                for scope in sender.scope_logs {
                    let resource = Resource::new(&resource, protobuf::of_scope(scope.scope.as_ref()));
                    for line in scope.log_records {
                        lines.add_with(|| of_protobuf(line).map(|said| said.from(&resource, from)));
                    }
                }
            }
        }
        Format::Json => json::each(body, ["resourceLogs", "scopeLogs", "logRecords"], |line, resource| {
            lines.add_with(|| of_json(&parsed(line)?).map(|said| said.from(resource, from)));
            Ok(())
        })?,
    }
    Ok(lines.batch)
}

impl Said<'_> {
    /// With what was said about its sender.
    fn from<'a>(self, resource: &Resource<'a>, from: Option<DeploymentId>) -> Said<'a> {
        Said {
            service: resource.service().map(str::to_owned),
            deployment_id: conventions::deployment(&self.attributes, resource.sender()).or(from),
            resource: resource.clone(),
            ..self
        }
    }
}

fn of_protobuf(line: Sent) -> Result<Said<'static>, String> {
    let body = line.body.map_or(Value::Null, protobuf::value);
    let times = [line.time_unix_nano, line.observed_time_unix_nano].map(i128::from);
    let severity = Severity::from_number(line.severity_number.into());
    let (trace_id, span_id) = (hex::encode(line.trace_id).into(), hex::encode(line.span_id).into());
    said(Parts {
        times,
        severity: severity.or_else(|| Severity::from_name(&line.severity_text)),
        body,
        ids: [trace_id, span_id],
        event: line.event_name,
        attributes: protobuf::attributes(line.attributes),
    })
}

fn of_json(line: &Value) -> Result<Said<'static>, String> {
    let time = |key: &str| json::number(&line[key]).unwrap_or_default();
    let text = line["severityText"].as_str().unwrap_or_default();
    said(Parts {
        times: [time("timeUnixNano"), time("observedTimeUnixNano")],
        severity: severity(&line["severityNumber"]).or_else(|| Severity::from_name(text)),
        body: json::value(&line["body"]),
        ids: [line["traceId"].clone(), line["spanId"].clone()],
        event: line["eventName"].as_str().unwrap_or_default().to_owned(),
        attributes: json::attributes(&line["attributes"]),
    })
}

/// What both formats say.
struct Parts {
    /// When it was logged, and when that was seen; 0 when that is not said.
    times: [i128; 2],
    severity: Option<Severity>,
    body: Value,
    /// Of the trace and the span, as hexadecimal digits.
    ids: [Value; 2],
    event: String,
    attributes: Map<String, Value>,
}

fn said(parts: Parts) -> Result<Said<'static>, String> {
    let [trace_id, span_id] = &parts.ids;
    let mut attributes = parts.attributes;
    if !parts.event.is_empty() {
        attributes.insert("event.name".to_owned(), parts.event.into());
    }
    let message = match parts.body {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => {
            let text = other.to_string();
            attributes.insert("log.body".to_owned(), other);
            text
        }
    };
    let nanos = parts.times.into_iter().find(|nanos| *nanos != 0);
    Ok(Said {
        nanos: nanos.ok_or("a line has neither timeUnixNano nor observedTimeUnixNano")?,
        severity: parts.severity,
        message,
        trace_id: optional_id(trace_id).map_err(|error| format!("a line: traceId {error}"))?,
        span_id: optional_id(span_id).map_err(|error| format!("a line: spanId {error}"))?,
        attributes,
        ..Said::default()
    })
}

/// A number, or its name: `SEVERITY_NUMBER_WARN2`.
fn severity(said: &Value) -> Option<Severity> {
    let Some(name) = said.as_str() else { return Severity::from_number(said.as_i64()?) };
    let name = name.strip_prefix("SEVERITY_NUMBER_")?;
    let level = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let step = match &name[level.len()..] {
        "" => 1,
        digits => digits.parse::<i64>().ok().filter(|step| (1..=4).contains(step))?,
    };
    Severity::from_number(i64::from(Severity::from_name(level)?.number()) + step - 1)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
    use prost::Message;
    use serde_json::json;

    use super::*;
    use crate::telemetry::batch::MOST;
    use crate::telemetry::resource::tests::large;

    const MANY: usize = 100_000;

    #[test]
    fn what_is_said_once_about_many_lines_does_not_fill_the_memory() {
        let line = Sent { time_unix_nano: 1_700_000_000_000_000_000, ..Sent::default() };
        let scope_logs = vec![ScopeLogs { log_records: vec![line; MANY], ..ScopeLogs::default() }];
        let sender = ResourceLogs { resource: Some(large()), scope_logs, ..ResourceLogs::default() };
        let body = ExportLogsServiceRequest { resource_logs: vec![sender] }.encode_to_vec();
        let attributes: Vec<Value> = (0..10)
            .map(|n| json!({ "key": format!("key{n}"), "value": { "stringValue": "x".repeat(20 << 10) } }))
            .collect();
        let lines = vec![json!({ "timeUnixNano": "1700000000000000000" }); MANY];
        let in_json = json!({ "resourceLogs": [{
            "resource": { "attributes": attributes }, "scopeLogs": [{ "logRecords": lines }],
        }] });
        for (format, body) in [(Format::Protobuf, body), (Format::Json, in_json.to_string().into_bytes())] {
            let batch = read(format, &body, None).unwrap();
            let kept = batch.rows.len();
            assert!((100..200).contains(&kept), "{format:?} {kept}");
            assert!((MOST..MOST + (1 << 20)).contains(&batch.size()), "{format:?} {}", batch.size());
            assert_eq!(batch.rejected(), (MANY - kept) as u64, "{format:?}");
        }
    }

    #[test]
    fn severities_are_numbers_or_names() {
        let level = |said: Value| severity(&said).map(Severity::number);
        assert_eq!(level(json!(13)), Some(13));
        assert_eq!(level(json!("SEVERITY_NUMBER_WARN")), Some(13));
        assert_eq!(level(json!("SEVERITY_NUMBER_ERROR3")), Some(19));
        for odd in [
            json!(0),
            json!(25),
            json!("WARN"),
            json!("SEVERITY_NUMBER_UNSPECIFIED"),
            json!(null),
            json!("SEVERITY_NUMBER_WARN9223372036854775807"),
            json!("SEVERITY_NUMBER_WARN99999999999999999999"),
            json!("SEVERITY_NUMBER_WARN0"),
        ] {
            assert_eq!(level(odd.clone()), None, "{odd}");
        }
    }
}
