//! The circumstances of a request, from its headers and its query.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, header, request::Parts};
use commands::Mode;

use super::is_safe;
use crate::caller::Facts;
use crate::error::Problem;
use crate::finish::RequestId;
use crate::platform::Platform;
use crate::query::{flag, one};

const X_MIN_POSITION: HeaderName = HeaderName::from_static("x-min-position");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A longer user agent is cut: it goes into every event.
const MAX_USER_AGENT: usize = 300;

/// Reads them. What cannot be read is refused: a condition that is not understood must not be ignored.
pub(super) fn read(platform: &Platform, parts: &Parts) -> Result<Facts, Problem> {
    let query = parts.uri.query();
    let dry_run = flag(query, "dryRun")?;
    if is_safe(&parts.method) && one(query, "asOf")?.is_some() {
        return Err(Problem::invalid("asOf", "not_supported", "is not supported here"));
    }
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
    Ok(Facts {
        request_id: request_id.unwrap_or_else(|| (platform.new_id)().to_string()),
        source_ip: address.map(|ConnectInfo(address)| address.ip().to_canonical()),
        user_agent: text(&parts.headers, header::USER_AGENT)
            .map(|text| text.chars().take(MAX_USER_AGENT).collect()),
        traceparent: text(&parts.headers, TRACEPARENT).filter(|text| is_traceparent(text)),
        at: (platform.now)(),
        key: None,
        expected_version: expected_version(&parts.headers)?,
        mode: if dry_run { Mode::DryRun } else { Mode::Append },
    })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The version that `If-Match` asks for. `*` asks for any.
fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let malformed =
        || Problem::malformed("If-Match must be one entity tag as an earlier answer had it, or *");
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().map_err(|_| malformed())?.trim();
    if text == "*" {
        return Ok(None);
    }
    let tag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(malformed)?;
    // A tag that is none of ours matches no version.
    Ok(Some(tag.parse().unwrap_or(-1)))
}

/// The position that `X-Min-Position` asks for.
pub(super) fn min_position(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(X_MIN_POSITION) else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|position| *position >= 0);
    position.map(Some).ok_or_else(|| Problem::malformed("X-Min-Position must be a position of the log"))
}

/// W3C trace context, version 00.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2]) && parts.iter().all(|part| hex(part))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn if_match_is_a_version() {
        let read =
            |value| expected_version(&with(header::IF_MATCH, value)).map_err(|problem| problem.status());
        assert_eq!(read("\"12\""), Ok(Some(12)));
        assert_eq!(read("*"), Ok(None));
        assert_eq!(read("\"other\""), Ok(Some(-1)));
        assert_eq!(read("12").unwrap_err(), 400);
        assert_eq!(read("W/\"12\"").unwrap_err(), 400);
        assert_eq!(read("\"").unwrap_err(), 400);
    }

    #[test]
    fn a_position_is_a_number() {
        assert_eq!(min_position(&with(X_MIN_POSITION, "7")).unwrap(), Some(7));
        for bad in ["-1", "x", "", "99999999999999999999"] {
            assert!(min_position(&with(X_MIN_POSITION, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trace_context_is_one() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        for bad in
            ["", "00-0af7-b7ad6b7169203331-01", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
        {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
