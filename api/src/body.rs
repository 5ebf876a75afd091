//! What comes with a request, read into types; what does not fit is refused with the field's name.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A JSON object.
pub(crate) struct Body<T>(pub(crate) T);

/// A text.
pub(crate) struct Text(pub(crate) String);

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

/// The path's parameters.
pub(crate) struct Params(RawPathParams);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (kind, bytes) = whole(request, state).await?;
        // A command without arguments may come without a body.
        if bytes.is_empty() && kind.is_none() {
            return parse(b"{}").map(Self);
        }
        must_be(kind.as_deref(), "application/json")?;
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (kind, bytes) = whole(request, state).await?;
        must_be(kind.as_deref(), "text/plain")?;
        let text = String::from_utf8(bytes.into());
        text.map(Self)
            .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "malformed", "The body is no text in UTF-8."))
    }
}

/// The body with its media type, in small letters and without parameters.
async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<(Option<String>, Bytes), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let bytes = Bytes::from_request(request, state).await.map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", "The body ended before it was complete.")
    })?;
    Ok((kind, bytes))
}

fn must_be(kind: Option<&str>, wanted: &str) -> Result<(), ApiError> {
    if kind == Some(wanted) {
        return Ok(());
    }
    let text = format!("Send the body as {wanted}.");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text))
}

/// Reads a JSON object.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| *byte != b'{') && serde_json::from_slice::<serde_json::Value>(bytes).is_ok() {
        return Err(ApiError::field("", "not_an_object", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer);
    match parsed {
        Ok(value) => {
            deserializer.end().map_err(|error| malformed(&error))?;
            Ok(value)
        }
        Err(error) => {
            let path = error.path().to_string();
            let inner = error.into_inner();
            if inner.is_data() { Err(refused(&path, &inner.to_string())) } else { Err(malformed(&inner)) }
        }
    }
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let detail = format!("The body is no JSON: {error}.");
    ApiError::new(StatusCode::BAD_REQUEST, "malformed", detail)
}

/// Which field is meant: serde names an unknown, missing or repeated field in its text, all others by the path.
fn refused(path: &str, text: &str) -> ApiError {
    let text = text.split(" at line ").next().unwrap_or(text);
    let named = text.split('`').nth(1).unwrap_or_default();
    let prefix = if path == "." { String::new() } else { format!("{path}.") };
    for (begin, code, message) in [
        ("unknown field", "unknown_field", "is not a field of this request"),
        ("missing field", "required", "is required"),
        ("duplicate field", "duplicate_field", "stands there more than once"),
    ] {
        if text.starts_with(begin) {
            // The path of an unknown field already ends with it.
            let field = if path.ends_with(named) { path.to_owned() } else { format!("{prefix}{named}") };
            return ApiError::field(field, code, message);
        }
    }
    ApiError::field(path, "invalid", text)
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(deserializer).map(Self).map_err(|error| {
            let path = error.path().to_string();
            refused(&path, &error.into_inner().to_string())
        })
    }
}

impl Params {
    /// A parameter that is an id or a name of something: when it cannot be one, there is nothing of that name.
    pub(crate) fn id<T: std::str::FromStr>(&self, name: &str) -> Result<T, ApiError> {
        self.text(name).parse().map_err(|_| ApiError::not_found())
    }

    /// A parameter as it stands in the path, decoded.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Percent-encoded bytes that are no UTF-8 name nothing of ours.
        RawPathParams::from_request_parts(parts, state).await.map(Self).map_err(|_| ApiError::not_found())
    }
}

/// Refuses an expiry that lies in the past.
pub(crate) fn in_future(field: &str, at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), ApiError> {
    match at {
        Some(at) if at <= now => Err(ApiError::field(field, "in_the_past", "must lie in the future")),
        _ => Ok(()),
    }
}

/// A field that may be absent, null or a value: `Some(None)` is null.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// For a field that must be there, be it null.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses matters")]
    struct Sample {
        slug: domain::values::Slug,
        port_number: Option<u16>,
    }

    fn refusal(json: &str) -> (u16, String) {
        let response = parse::<Sample>(json.as_bytes()).unwrap_err().into_response();
        let status = response.status().as_u16();
        let body = &response.extensions().get::<crate::error::ProblemBody>().unwrap().0;
        (status, body["errors"][0]["field"].as_str().unwrap_or("-").to_owned())
    }

    #[test]
    fn a_refusal_names_the_field() {
        for (json, status, field) in [
            (r#"{"slug":"Not Good"}"#, 422, "slug"),
            (r#"{"slug":"a\u0000"}"#, 422, "slug"),
            (r#"{"slug":7}"#, 422, "slug"),
            (r#"{}"#, 422, "slug"),
            (r#"{"slug":"a","slug":"b"}"#, 422, "slug"),
            (r#"{"slug":"a","portNumber":1e300}"#, 422, "portNumber"),
            (r#"{"slug":"a","portNumber":70000}"#, 422, "portNumber"),
            (r#"{"slug":"a","colour":"red"}"#, 422, "colour"),
            (r#"["a",1]"#, 422, ""),
            (r#"{"slug":"a"} x"#, 400, "-"),
            (r#"{"slug":"#, 400, "-"),
            (r#"{"slug":"a","portNumber":1e999}"#, 400, "-"),
        ] {
            let (got, named) = refusal(json);
            assert_eq!((got, named.as_str()), (status, field), "{json}");
        }
        assert!(parse::<Sample>(br#"{"slug":"a"}"#).is_ok());
    }
}
