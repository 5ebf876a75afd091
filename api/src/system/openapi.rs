//! `/openapi.json`: the OpenAPI 3.1 document, made of the table of routes.

use axum::Json;
use serde_json::{Map, Value, json};

use crate::gate::Needs;
use crate::routes::{Route, table};

pub(crate) async fn handler() -> Json<Value> {
    Json(document())
}

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for route in table() {
        if let Some((name, schema)) = &route.body {
            schemas.insert((*name).to_owned(), schema.clone());
        }
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(&route);
    }
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "MastraAdmin",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "A session, personal or project token" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": "mastra_session" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let status = route.status.to_string();
    let mut operation = json!({
        "operationId": route.name(),
        "summary": route.summary,
        "tags": [route.tag()],
        "parameters": parameters(route),
        "responses": {
            status: { "description": "Done", "content": { route.answers: { "schema": {} } } },
            "4XX": refusal("The request is refused"),
            "503": refusal("A part of the platform is away"),
        },
    });
    if let Some((name, _)) = &route.body {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        let required = route.body_required;
        operation["requestBody"] =
            json!({ "required": required, "content": { "application/json": { "schema": schema } } });
    }
    operation["security"] = match route.needs {
        Needs::Public => json!([]),
        _ => json!([{ "bearer": [] }, { "cookie": [] }]),
    };
    if let Some((resource, action)) = route.needs.right() {
        operation["x-permission"] = format!("{resource}:{action}").into();
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }))
        .collect();
    for name in route.query {
        parameters.push(json!({ "name": name, "in": "query", "schema": text }));
    }
    if crate::gate::is_unsafe(&route.method) {
        parameters.push(json!({ "name": "dryRun", "in": "query", "schema": { "type": "boolean" } }));
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "schema": text }));
        parameters.push(json!({ "name": "If-Match", "in": "header", "schema": text }));
    }
    parameters
}

fn refusal(description: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    json!({ "description": description, "content": { "application/problem+json": { "schema": schema } } })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "code": { "type": "string" },
            "requestId": { "type": "string" },
            "errors": { "type": "array", "items": { "type": "object", "properties": {
                "field": { "type": "string" },
                "code": { "type": "string" },
                "message": { "type": "string" },
            } } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once() {
        let document = document();
        let mut seen = std::collections::BTreeSet::new();
        for route in table() {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
            assert!(seen.insert(operation["operationId"].to_string()), "{operation}");
        }
    }
}
