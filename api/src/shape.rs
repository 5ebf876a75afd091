//! The shapes of values as the document tells them: what a client can know of the rules before it asks.
//!
//! Each stands for a type of the domain, which says the last word: a shape is never stricter than its type.

use std::borrow::Cow;

use domain::policy;
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident = $shape:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                read($shape)
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

shapes! {
    /// `domain::values::Slug`.
    Slug = json!({ "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$" });
    /// `domain::values::DisplayName`: one line.
    Name = json!({ "type": "string", "minLength": 1, "maxLength": 100 });
    /// `domain::values::PersonName`: one line.
    PersonName = json!({ "type": "string", "maxLength": 100 });
    /// `domain::values::Email`.
    Email = json!({ "type": "string", "minLength": 3, "maxLength": 254, "pattern": "@" });
    /// `domain::values::RepoUrl`.
    RepoUrl = json!({ "type": "string", "maxLength": 2048, "pattern": "^(https|ssh|file):|@" });
    /// `domain::values::BranchName`: what git accepts.
    BranchName = json!({ "type": "string", "minLength": 1, "maxLength": 250 });
    /// `domain::values::CommitSha`.
    CommitSha = json!({ "type": "string", "pattern": "^[0-9a-f]{40}$" });
    /// `domain::values::RelativePath`: inside the repository.
    RelativePath = json!({ "type": "string", "maxLength": 512 });
    /// `domain::values::CommandLine`: a single command; no shell runs it.
    CommandLine = json!({ "type": "string", "minLength": 1, "maxLength": 1000 });
    /// `domain::team::MemberRole`; `member` is another word for `developer`.
    MemberRole = json!({ "type": "string", "enum": ["viewer", "developer", "member", "admin", "owner"] });
    /// `domain::project::EnvironmentType`.
    EnvironmentType = json!({ "type": "string", "enum": ["production", "staging", "preview"] });
    /// `domain::project::Protection`.
    Protection = json!({ "type": "string", "enum": ["public", "team", "token"] });
    /// `domain::project::Availability`.
    Availability = json!({ "type": "string", "enum": ["runtime", "build", "both"] });
    /// `domain::project::TokenScope`.
    TokenScope = json!({ "type": "string", "enum": ["deploy", "telemetry:write", "telemetry:read", "read"] });
    /// `domain::endpoint::Kind`.
    EndpointKind = json!({ "type": "string", "enum": ["webhook", "slack", "email"] });
    /// `domain::policy::Resource`.
    Resource = json!({ "type": "string", "enum": policy::Resource::ALL });
    /// `domain::policy::Action`.
    Action = json!({ "type": "string", "enum": policy::Action::ALL });
    /// `domain::policy::Permission`.
    Permission = object(&["resource", "action"], &json!({
        "resource": { "type": "string", "enum": policy::Resource::ALL },
        "action": { "type": "string", "enum": policy::Action::ALL },
        "conditions": { "type": "array", "items": condition() },
    }));
    /// `domain::policy::Scope`.
    Scope = json!({ "oneOf": [
        object(&["type"], &json!({ "type": { "type": "string", "enum": ["global"] } })),
        object(&["type", "teamId"], &json!({ "type": { "type": "string", "enum": ["team"] }, "teamId": id() })),
        object(&["type", "projectId"], &json!({ "type": { "type": "string", "enum": ["project"] }, "projectId": id() })),
    ] });
    /// `domain::values::ResourcePlan`.
    ResourcePlan = object(&[], &json!({ "builder": limits(), "runner": limits() }));
    /// `domain::values::HealthGate`.
    HealthGate = health_gate();
    /// `domain::project::Previews`.
    Previews = previews();
}

fn condition() -> Value {
    let list = json!({ "type": "array", "items": { "type": "string" } });
    let value = json!({ "oneOf": [{ "type": "boolean" }, { "type": "string" }, list] });
    let operator = json!({ "type": "string", "enum": ["eq", "neq", "in", "nin", "exists"] });
    object(
        &["field", "operator", "value"],
        &json!({
            "field": { "type": "string" },
            "operator": operator,
            "value": value,
        }),
    )
}

/// `domain::values::Resources`.
fn limits() -> Value {
    let of =
        |least: u32, most: u32| json!({ "type": ["integer", "null"], "minimum": least, "maximum": most });
    let mut limits = object(
        &[],
        &json!({
            "memoryMib": of(64, 65_536),
            "cpuMillis": of(100, 64_000),
            "pids": of(16, 32_768),
            "diskMib": of(64, 1_048_576),
            "timeoutSeconds": of(10, 21_600),
        }),
    );
    limits["type"] = json!(["object", "null"]);
    limits
}

/// `domain::values::HealthGate`.
fn health_gate() -> Value {
    let of =
        |least: u32, most: u32| json!({ "type": ["integer", "null"], "minimum": least, "maximum": most });
    object(
        &[],
        &json!({
            "path": { "type": ["string", "null"], "maxLength": 200, "pattern": "^/" },
            "timeoutMs": of(100, 60_000),
            "intervalMs": of(50, 60_000),
            "retries": of(0, 1000),
        }),
    )
}

/// `domain::project::Previews`.
fn previews() -> Value {
    object(
        &[],
        &json!({
            "ttlHours": { "type": "integer", "minimum": 1, "maximum": 2160 },
            "forks": { "type": "string", "enum": ["never", "on_approval"] },
            "productionSecrets": { "type": "boolean" },
        }),
    )
}

/// An id.
pub(crate) fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// An object with these fields and no others.
pub(crate) fn object(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

fn read(shape: Value) -> RefOr<Schema> {
    serde_json::from_value(shape.clone()).unwrap_or_else(|error| panic!("no schema: {error}: {shape}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the type reads this text.
    fn reads<T: serde::de::DeserializeOwned>(text: &Value) -> bool {
        serde_json::from_value::<T>(text.clone()).is_ok()
    }

    #[test]
    fn what_a_shape_lists_is_what_its_type_reads() {
        use domain::{policy, project, team};
        let listed =
            |shape: RefOr<Schema>| serde_json::to_value(shape).unwrap()["enum"].as_array().unwrap().clone();
        assert!(listed(MemberRole::schema()).iter().all(reads::<team::MemberRole>));
        assert!(listed(EnvironmentType::schema()).iter().all(reads::<project::EnvironmentType>));
        assert!(listed(Availability::schema()).iter().all(reads::<project::Availability>));
        assert!(listed(TokenScope::schema()).iter().all(reads::<project::TokenScope>));
        assert!(listed(Resource::schema()).iter().all(reads::<policy::Resource>));
        assert!(listed(Action::schema()).iter().all(reads::<policy::Action>));
        for operator in condition()["properties"]["operator"]["enum"].as_array().unwrap() {
            assert!(reads::<policy::Operator>(operator));
        }
    }
}
