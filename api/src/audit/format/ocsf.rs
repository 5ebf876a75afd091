//! Events of the Open Cybersecurity Schema Framework, version 1.3.0: sign-ins are Authentication (3002), all else is
//! API Activity (6003).

use domain::envelope::Actor;
use serde_json::{Value, json};

use crate::audit::Shown;

const SCHEMA: &str = "1.3.0";
const PRODUCT: &str = "MastraAdmin";

/// The event of a row.
pub(super) fn event(shown: &Shown) -> Value {
    let row = &shown.row;
    let is_success = row.outcome == "success";
    let class = Class::of(&row.action);
    let (activity, activity_name) = activity(shown, class);
    let mut event = json!({
        "class_uid": class.uid(),
        "class_name": class.name(),
        "category_uid": class.uid() / 1000,
        "category_name": class.category(),
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": class.uid() * 100 + activity,
        "time": row.at.timestamp_millis(),
        "severity_id": if is_success { 1 } else { 2 },
        "severity": if is_success { "Informational" } else { "Low" },
        "status_id": if is_success { 1 } else { 2 },
        "status": if is_success { "Success" } else { "Failure" },
        "status_code": row.outcome,
        "actor": { "user": user(&row.actor, row.on_behalf_of.as_deref()) },
        "src_endpoint": source(shown),
        "metadata": {
            "version": SCHEMA,
            "product": { "name": PRODUCT, "vendor_name": PRODUCT, "version": env!("CARGO_PKG_VERSION") },
            "uid": row.event_id,
            "event_code": row.action,
            "correlation_uid": row.correlation,
            "sequence": row.position,
            "original_time": row.at,
            "log_name": "audit",
            "tenant_uid": row.team_id,
        },
        "api": {
            "operation": row.action,
            "request": { "uid": row.request_id },
            "service": { "name": PRODUCT },
        },
        "resources": [{ "type": row.resource, "uid": row.resource_id }],
        "unmapped": {
            "before": row.before,
            "after": row.after,
            "command": row.command,
            "causation": row.causation,
            "project_id": row.project_id,
        },
    });
    if let Some(user_agent) = &shown.user_agent {
        event["http_request"] = json!({ "uid": row.request_id, "user_agent": user_agent });
    }
    if class == Class::Authentication {
        event["service"] = json!({ "name": PRODUCT });
        event["user"] = user(row.on_behalf_of.as_deref().unwrap_or(&row.actor), None);
    }
    event
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Authentication,
    ApiActivity,
}

impl Class {
    fn of(action: &str) -> Self {
        match action {
            "user.signed_in" | "user.signed_out" | "access.sign_in_failed" => Self::Authentication,
            _ => Self::ApiActivity,
        }
    }

    fn uid(self) -> i64 {
        match self {
            Self::Authentication => 3002,
            Self::ApiActivity => 6003,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Authentication => "Authentication",
            Self::ApiActivity => "API Activity",
        }
    }

    fn category(self) -> &'static str {
        match self {
            Self::Authentication => "Identity & Access Management",
            Self::ApiActivity => "Application Activity",
        }
    }
}

/// What was done, of what its class knows.
fn activity(shown: &Shown, class: Class) -> (i64, &'static str) {
    let action = shown.row.action.as_str();
    if class == Class::Authentication {
        return if action == "user.signed_out" { (2, "Logoff") } else { (1, "Logon") };
    }
    let method = shown.row.after.as_ref().and_then(|after| after["method"].as_str());
    let ends = |words: &[&str]| words.iter().any(|word| action.ends_with(word));
    match method {
        Some("POST") => (1, "Create"),
        Some("PUT" | "PATCH") => (3, "Update"),
        Some("DELETE") => (4, "Delete"),
        _ if ends(&["refused", "suppressed"]) => (99, "Other"),
        _ if ends(&["deleted", "removed", "revoked", "expired", "unassigned"]) => (4, "Delete"),
        _ if ends(&["created", "registered", "added", "invited", "connected", "assigned", "requested"]) => {
            (1, "Create")
        }
        _ if ends(&["revealed", "exported"]) => (2, "Read"),
        _ => (3, "Update"),
    }
}

/// Who acts; a token that acts for a person is that person's credential.
fn user(actor: &str, on_behalf_of: Option<&str>) -> Value {
    match (actor.parse(), on_behalf_of.map(str::parse)) {
        (Ok(Actor::User(id)), _) => json!({ "uid": id, "type_id": 1, "type": "User" }),
        (Ok(Actor::Token(token)), Some(Ok(Actor::User(id)))) => {
            json!({ "uid": id, "type_id": 1, "type": "User", "credential_uid": token })
        }
        (Ok(Actor::System | Actor::Process(_)), _) => {
            json!({ "uid": actor, "type_id": 3, "type": "System" })
        }
        (Ok(Actor::Anonymous) | Err(_), _) => json!({ "uid": actor, "type_id": 0, "type": "Unknown" }),
        (Ok(_), _) => json!({ "uid": actor, "type_id": 99, "type": "Other" }),
    }
}

/// Where from: an address, or the platform itself.
fn source(shown: &Shown) -> Value {
    let ip = shown.source_ip.as_deref().filter(|ip| ip.parse::<std::net::IpAddr>().is_ok());
    match ip {
        Some(ip) => json!({ "ip": ip }),
        None => json!({ "name": shown.source_ip.as_deref().unwrap_or(PRODUCT) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::format::sample;

    #[test]
    fn an_event_has_what_its_class_requires() {
        let event = event(&sample::shown());
        assert_eq!(event["type_uid"], 600_303);
        assert_eq!((&event["category_uid"], &event["activity_id"]), (&json!(6), &json!(3)));
        assert_eq!(event["time"], 1_700_000_000_123_i64);
        assert_eq!((&event["status_id"], &event["severity_id"]), (&json!(1), &json!(1)));
        assert_eq!(event["metadata"]["version"], "1.3.0");
        assert_eq!(event["metadata"]["product"]["name"], "MastraAdmin");
        assert_eq!(event["src_endpoint"]["ip"], "192.0.2.1");
        assert_eq!(event["actor"]["user"]["type_id"], 1);
        assert_eq!(event["api"]["operation"], "project.settings_changed");
    }

    #[test]
    fn a_failed_sign_in_is_a_failed_logon() {
        let mut shown = sample::shown();
        shown.row.action = "access.sign_in_failed".into();
        shown.row.outcome = "failed".into();
        shown.row.on_behalf_of = Some(std::mem::replace(&mut shown.row.actor, "anonymous".into()));
        shown.source_ip = Some("[erased]".into());
        let event = event(&shown);
        assert_eq!((&event["type_uid"], &event["status_id"]), (&json!(300_201), &json!(2)));
        assert_eq!(event["actor"]["user"]["uid"], "anonymous");
        assert_eq!(event["user"]["uid"], "00000000-0000-0000-0000-000000000007");
        assert_eq!(event["src_endpoint"], json!({ "name": "[erased]" }));
    }

    #[test]
    fn a_denied_command_is_what_it_wanted_to_be() {
        let mut shown = sample::shown();
        shown.row.action = "access.command_denied".into();
        shown.row.after = Some(json!({ "method": "DELETE" }));
        assert_eq!(event(&shown)["activity_id"], 4);
    }
}
