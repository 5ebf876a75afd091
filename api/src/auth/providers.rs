//! `GET /auth/providers` — how one can sign in here.

use axum::Json;
use serde_json::{Value, json};

pub(crate) async fn handler() -> Json<Value> {
    Json(json!({ "items": [{ "id": "local", "type": "password", "name": "E-mail and password" }] }))
}
