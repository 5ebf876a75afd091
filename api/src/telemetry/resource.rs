//! What a body says once about all rows of a sender. It is cut to its caps once, and written out only for rows that are kept.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::caps;

/// What is said about the sender of a row.
#[derive(Clone, Default)]
pub(super) struct Resource<'a> {
    /// Within the caps.
    sender: Cow<'a, Map<String, Value>>,
    /// The name and the version of the part of the sender that speaks.
    scope: Option<[&'a str; 2]>,
}

impl<'a> Resource<'a> {
    /// Of a sender, as `caps::object` left it, and of a part of it, if it has a name.
    pub(super) fn new(sender: &'a Map<String, Value>, scope: Option<[&'a str; 2]>) -> Self {
        Self { sender: Cow::Borrowed(sender), scope: scope.filter(|[name, _]| !name.is_empty()) }
    }

    /// Of one row.
    pub(super) fn of_row(said: Map<String, Value>) -> Self {
        Self { sender: Cow::Owned(caps::object(said)), scope: None }
    }

    /// What the sender says about itself.
    pub(super) fn sender(&self) -> &Map<String, Value> {
        &self.sender
    }

    /// What it calls itself.
    pub(super) fn service(&self) -> Option<&str> {
        self.sender.get("service.name").and_then(Value::as_str)
    }

    /// Everything.
    pub(super) fn into_map(self) -> Map<String, Value> {
        let mut all = self.sender.into_owned();
        if let Some([name, version]) = self.scope {
            all.insert("otel.scope.name".to_owned(), caps::text(name, caps::NAME).into());
            all.insert("otel.scope.version".to_owned(), caps::text(version, caps::NAME).into());
        }
        all
    }
}

#[cfg(test)]
pub(super) mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Said;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::resource::v1::Resource as Sent;
    use serde_json::json;

    use super::*;

    /// What a sender says about itself, in 200 KiB.
    pub(in crate::telemetry) fn large() -> Sent {
        let text = || Some(AnyValue { value: Some(Said::StringValue("x".repeat(20 << 10))) });
        let attribute = |n| KeyValue { key: format!("key{n}"), value: text(), ..KeyValue::default() };
        Sent { attributes: (0..10).map(attribute).collect(), ..Sent::default() }
    }

    #[test]
    fn a_part_of_a_sender_says_its_name() {
        let sender = Map::from_iter([("service.name".to_owned(), json!("shop"))]);
        let part = Resource::new(&sender, Some(["a\0", "1"]));
        assert_eq!(part.service(), Some("shop"));
        let told =
            json!({ "service.name": "shop", "otel.scope.name": "a\u{FFFD}", "otel.scope.version": "1" });
        assert_eq!(json!(part.into_map()), told);
        assert_eq!(Resource::new(&sender, Some(["", "1"])).into_map(), sender, "without a name");
        let large = Map::from_iter([("a".to_owned(), "x".repeat(1 << 20).into())]);
        assert!(caps::size_of_members(&Resource::of_row(large).into_map()) < 40 << 10);
    }
}
