//! `GET /openapi.json`: the full reference of the API.

use axum::Extension;
use axum::http::{HeaderName, header};

use crate::openapi::Document;

#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "system",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(crate) async fn handler(
    Extension(Document(text)): Extension<Document>,
) -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "application/json")], text.to_string())
}
