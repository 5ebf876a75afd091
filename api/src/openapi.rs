//! The OpenAPI document: made from the handlers, completed with what is the same for all of them; and the page
//! that shows it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::platform::Platform;
use crate::routes::{Need, ROUTES, Route};

/// Where the document stands.
pub(crate) const DOCUMENT: &str = "/openapi.json";

/// Swagger UI styles its elements by attributes; all else comes from its own files.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The document as it is served.
#[derive(Clone, Debug)]
pub(crate) struct Document(pub(crate) Arc<str>);

/// The page under `/docs`, with every file from this server.
pub(crate) fn pages() -> Router<Arc<Platform>> {
    let page = SwaggerUi::new("/docs").config(Config::from(DOCUMENT).validator_url("none"));
    Router::from(page).layer(from_fn(allow_own_files))
}

async fn allow_own_files(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// Adds what no handler says for itself: parameters of the path, common headers, who may call, problems.
pub(crate) fn complete(document: OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("the document serialises");
    document["openapi"] = "3.1.0".into();
    document["info"] = json!({
        "title": "MastraAdmin",
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        "description": "Every change is an event of one log; everything that is shown is derived from it.",
    });
    document["servers"] = json!([{ "url": "/" }]);
    document["components"]["schemas"]["Problem"] = problem_schema();
    document["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "A session, personal or project token." },
        "cookie": {
            "type": "apiKey", "in": "cookie", "name": "mastra_session",
            "description": "The session of a browser; changes also need X-CSRF-Token.",
        },
    });
    for route in ROUTES {
        let method = route.method.as_str().to_lowercase();
        if let Some(operation) = document["paths"].get_mut(route.path).and_then(|item| item.get_mut(&method))
        {
            complete_operation(operation, route);
        }
    }
    document
}

fn complete_operation(operation: &mut Value, route: &Route) {
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        if !parameters.iter().any(|known| known["in"] == "path" && known["name"] == name) {
            let schema = match name {
                "team" => json!({ "type": "string", "description": "Id or slug." }),
                "KEY" => json!({ "type": "string" }),
                _ => json!({ "type": "string", "format": "uuid" }),
            };
            parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
        }
    }
    let is_command = route.method != axum::http::Method::GET;
    if is_command && route.need != Need::Public {
        parameters.extend([
            header_parameter("Idempotency-Key", "Under which the command happens once."),
            header_parameter("If-Match", "The version that the resource must have."),
            json!({
                "name": "dryRun", "in": "query", "required": false, "schema": { "type": "boolean" },
                "description": "Everything is checked; the events are shown and not appended.",
            }),
        ]);
    }
    if !is_command {
        parameters.push(header_parameter("X-Min-Position", "Waits until the answer knows this position."));
    }
    operation["parameters"] = parameters.into();
    operation["security"] = match route.need {
        Need::Public => json!([]),
        _ => json!([{ "bearer": [] }, { "cookie": [] }]),
    };
    operation["x-needs"] = match route.need {
        Need::On(_, resource, action) | Need::OnOrSelf(_, resource, action) => {
            json!(format!("{resource}:{action}"))
        }
        need => json!(format!("{need:?}").to_lowercase()),
    };
    operation["responses"]["default"] = json!({
        "description": "What went wrong.",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
}

fn header_parameter(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "header", "required": false, "schema": { "type": "string" },
        "description": description,
    })
}

/// RFC 9457, with what we add.
fn problem_schema() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "requestId"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "code": { "type": "string", "description": "Stable, in snake_case." },
            "requestId": { "type": "string" },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["field", "code", "message"],
                    "properties": {
                        "field": { "type": "string" },
                        "code": { "type": "string" },
                        "message": { "type": "string" },
                    },
                },
            },
        },
    })
}
