//! JSON bodies. What does not read is refused with the field's name, whatever is wrong with it.

mod check;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use domain::secret::Secret;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::error::{ApiError, FieldError, Problem};

/// The largest body, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// A JSON object as `T`, which denies unknown fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(is_json) {
            return Err(Problem::new(415, "unsupported_media_type", "The body must be JSON")
                .detail("send it with Content-Type: application/json")
                .into());
        }
        Ok(Self(parse(&read(request.into_body()).await?)?))
    }
}

/// A body, as long as it is not too large.
pub(crate) async fn read(body: axum::body::Body) -> Result<Bytes, Problem> {
    to_bytes(body, MAX_BYTES).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
            return Problem::new(413, "too_large", "Too large")
                .detail(format!("the body may have {MAX_BYTES} bytes at most"));
        }
        Problem::malformed("the body broke off")
    })
}

fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    check::check(bytes)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let FieldError { field, code, message } = field_error(&path, &error.inner().to_string());
        Problem::invalid(field, code, message)
    })
}

/// What serde says, as an error of a field. serde names fields that are missing or unknown in its sentence.
pub(crate) fn field_error(path: &str, sentence: &str) -> FieldError {
    let sentence = sentence.split(" at line ").next().unwrap_or(sentence);
    let path = if path == "." { "" } else { path };
    let named = |begin: &str| {
        let name = sentence.strip_prefix(begin)?.strip_prefix('`')?.split('`').next()?;
        Some(match path {
            "" => name.to_owned(),
            path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
            path => format!("{path}.{name}"),
        })
    };
    if let Some(field) = named("missing field ") {
        return FieldError { field, code: "required", message: "must be given".to_owned() };
    }
    if let Some(field) = named("unknown field ") {
        return FieldError { field, code: "unknown_field", message: "is not known here".to_owned() };
    }
    if let Some(field) = named("duplicate field ") {
        return FieldError { field, code: "duplicate_field", message: "is given twice".to_owned() };
    }
    let message = match sentence.split_once(", expected one of ") {
        Some((before, names)) if before.starts_with("unknown variant") => format!("must be one of {names}"),
        _ => sentence.to_owned(),
    };
    FieldError { field: path.to_owned(), code: "invalid", message }
}

/// For fields where absent and `null` differ: `#[serde(default, deserialize_with = "nullable")]`.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// A text of the body that must not be seen.
#[derive(Clone, Debug)]
pub(crate) struct SecretText(pub(crate) Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whatever it is instead of a text is not repeated in the error.
        let text = String::deserialize(deserializer).map_err(|_| D::Error::custom("must be a text"))?;
        Ok(Self(Secret::new(text)))
    }
}

#[cfg(test)]
mod tests;
