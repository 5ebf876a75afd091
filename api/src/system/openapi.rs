//! `/openapi.json`: the OpenAPI 3.1 document, made of the table of routes and of the types that they read and write.

use std::collections::BTreeSet;

use axum::Json;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::gate::{Needs, is_unsafe};
use crate::routes::{Gives, Route, table};
use crate::shape;

pub(crate) async fn handler() -> Json<Value> {
    Json(document())
}

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::from_iter([
        ("Problem".to_owned(), problem()),
        ("DryRun".to_owned(), dry_run()),
        ("Lagging".to_owned(), lagging()),
    ]);
    for route in table() {
        for (name, schema) in &route.reading.schemas {
            add(&mut schemas, name, schema);
        }
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(&route, &mut schemas);
    }
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

fn add(schemas: &mut Map<String, Value>, name: &str, schema: &Value) {
    let before = schemas.insert(name.to_owned(), schema.clone());
    assert!(before.is_none_or(|before| before == *schema), "two schemas are called {name}");
}

fn operation(route: &Route, schemas: &mut Map<String, Value>) -> Value {
    let mut operation = json!({
        "operationId": route.name(),
        "summary": route.summary,
        "tags": [route.tag()],
        "parameters": parameters(route),
        "responses": responses(route, schemas),
    });
    if let Some(name) = &route.reading.body {
        let required = route.reading.body_required;
        operation["requestBody"] = json!({ "required": required, "content": { route.reading.takes: { "schema": reference(name) } } });
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
    let header = |name: &str, schema: Value| json!({ "name": name, "in": "header", "schema": schema });
    let query = |name: &str, schema: Value| json!({ "name": name, "in": "query", "schema": schema });
    let named = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = named.map(in_path).collect();
    parameters.extend(route.reading.query.iter().cloned());
    if matches!(route.needs, Needs::Given(..)) && route.method == Method::GET {
        // The gate reads them.
        parameters.extend(["teamId", "projectId"].map(|name| query(name, shape::id())));
    }
    if route.as_of.is_some() {
        let mut as_of = query("asOf", json!({ "type": "string" }));
        as_of["description"] = "A time (RFC 3339) or a position of the log: answered as it was then".into();
        parameters.push(as_of);
    }
    if is_unsafe(&route.method) {
        let key = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
        let version = json!({ "type": "string", "pattern": r#"^(\*|(W/)?"[0-9]{1,18}")$"# });
        parameters.push(query("dryRun", json!({ "type": "boolean" })));
        parameters.push(header("Idempotency-Key", key));
        parameters.push(header("If-Match", version));
    } else {
        let position = json!({ "type": "integer", "format": "int64", "minimum": 0 });
        parameters.push(header("X-Min-Position", position.clone()));
        if route.answers == ["text/event-stream"] {
            parameters.push(header("Last-Event-ID", position));
        }
    }
    parameters
}

/// A parameter of the path: an id unless it is called otherwise.
fn in_path(name: &str) -> Value {
    let schema = match name {
        // A team's slug is as good as its id; repositories have names.
        "team" | "provider" | "owner" | "name" => json!({ "type": "string", "minLength": 1 }),
        "key" => json!({ "type": "string", "maxLength": 128, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }),
        "position" => json!({ "type": "integer", "format": "int64", "minimum": 1 }),
        "trace" => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
        _ => shape::id(),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn responses(route: &Route, schemas: &mut Map<String, Value>) -> Map<String, Value> {
    let mut responses = Map::new();
    let content = |schema: &Value| {
        let of = |kind: &&str| {
            let schema =
                if *kind == "application/json" { schema.clone() } else { json!({ "type": "string" }) };
            ((*kind).to_owned(), json!({ "schema": schema }))
        };
        route.answers.iter().map(of).collect::<Map<String, Value>>()
    };
    let is_command = is_unsafe(&route.method);
    let good = answer(route, schemas);
    if is_command && route.status != 200 {
        let dry = json!({ "description": "What would happen", "content": content(&reference("DryRun")) });
        responses.insert("200".to_owned(), dry);
    }
    let mut done = json!({ "description": "Done", "content": content(&good) });
    if route.status == 302 {
        done = json!({ "description": "Elsewhere", "headers": { "Location": { "schema": { "type": "string" } } } });
    }
    responses.insert(route.status.to_string(), done);
    for status in refusals(route) {
        let status = StatusCode::from_u16(status).expect("a usual status");
        let schema = json!({ "schema": reference("Problem") });
        let mut refusal = json!({
            "description": status.canonical_reason(),
            "content": { "application/problem+json": schema },
        });
        if status == StatusCode::SERVICE_UNAVAILABLE && route.tells_health() {
            refusal["content"] = content(&good).into();
        } else if status == StatusCode::NO_CONTENT {
            refusal = json!({ "description": "There is nothing to say" });
        } else if status.is_success() {
            refusal["content"] = content(&reference("Lagging")).into();
        }
        responses.insert(status.as_u16().to_string(), refusal);
    }
    responses
}

/// What a good answer is. A command may have been rehearsed only; and it may be done before it can be shown.
fn answer(route: &Route, schemas: &mut Map<String, Value>) -> Value {
    let one = match route.gives {
        None => json!({ "type": "object" }),
        Some(Gives::One(schema)) => reference(&schema(schemas)),
        Some(Gives::List(schema)) => shape::object(
            &["items", "nextCursor"],
            &json!({
                "items": { "type": "array", "items": reference(&schema(schemas)) },
                "nextCursor": { "type": ["string", "null"] },
            }),
        ),
    };
    if !is_unsafe(&route.method) || route.gives.is_none() {
        return one;
    }
    let mut forms = vec![one, reference("Lagging")];
    if route.status == 200 {
        forms.push(reference("DryRun"));
    }
    json!({ "anyOf": forms })
}

/// The statuses of refusals: of what every request is asked, and of what this route does.
fn refusals(route: &Route) -> BTreeSet<u16> {
    let mut all = BTreeSet::from([422, 429, 503]);
    if route.needs != Needs::Public {
        all.extend([401, 403]);
    }
    if route.path.contains('{') {
        all.insert(404);
    }
    if is_unsafe(&route.method) {
        all.extend([409, 412, 413]);
    }
    if route.reading.body.is_some() {
        all.extend([400, 415]);
    }
    all.extend(route.also);
    all
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn lagging() -> Value {
    let mut lagging = shape::object(&["id"], &json!({ "id": { "type": "string" } }));
    lagging["description"] =
        "Done, but the query tables do not show it yet; `X-Projection-Lag` says so".into();
    lagging
}

fn dry_run() -> Value {
    let event = json!({
        "aggregateType": { "type": "string" },
        "type": { "type": "string" },
        "payload": { "type": "object" },
    });
    let event = shape::object(&["aggregateType", "type", "payload"], &event);
    let diff =
        json!({ "type": "object", "description": "What would run otherwise, where that is asked for" });
    let fields = json!({ "events": { "type": "array", "items": event }, "diff": diff });
    let mut dry_run = shape::object(&["events"], &fields);
    dry_run["description"] = "The events that would have been appended".into();
    dry_run
}

fn problem() -> Value {
    let field = json!({
        "field": { "type": "string" },
        "code": { "type": "string" },
        "message": { "type": "string" },
    });
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail", "code", "requestId"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "code": { "type": "string", "pattern": "^[a-z0-9_]+$" },
            "requestId": { "type": "string" },
            "errors": { "type": "array", "items": shape::object(&["field", "code", "message"], &field) },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once() {
        let document = document();
        let mut seen = BTreeSet::new();
        for route in table() {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
            assert!(seen.insert(operation["operationId"].to_string()), "{operation}");
        }
    }

    #[test]
    fn a_body_is_described_by_the_type_that_reads_it() {
        let document = document();
        let body = &document["paths"]["/api/v1/teams"]["post"]["requestBody"];
        assert_eq!(body["required"], true);
        assert_eq!(body["content"]["application/json"]["schema"], reference("CreateTeam"));
        let schema = &document["components"]["schemas"]["CreateTeam"];
        assert_eq!(schema["required"], json!(["name", "slug"]));
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["slug"], reference("Slug"));
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        let document = document();
        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
