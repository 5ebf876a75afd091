//! When a server counts as healthy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// What a server must answer before requests go to it. What is absent is as for a Mastra server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthGate {
    /// The path that is asked; any 2xx of it is good. Absent, `/health` must say `{"success":true}`: a Mastra server
    /// answers 200 to every path that it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How long one answer may take in milliseconds, 100 to 60000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// Time from one answer to the next question in milliseconds, 50 to 60000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// So many bad answers are asked again, 0 to 1000; absent, all of them until the time for the start is over.
    /// That nobody listens yet is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

impl HealthGate {
    /// The path that is asked.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/health")
    }

    /// How long one answer may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.unwrap_or(2000).into())
    }

    /// From one answer to the next question.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.unwrap_or(50).into())
    }

    /// Refuses what is out of bounds; the error names the field.
    pub fn check(&self) -> Result<(), (&'static str, InvalidValue)> {
        let is_path = |path: &String| {
            path.len() <= 200
                && path.starts_with('/')
                && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
        };
        if self.path.as_ref().is_some_and(|path| !is_path(path)) {
            return Err(("path", InvalidValue::new("must be a path like /ready, of at most 200 characters")));
        }
        let bounds = [
            ("timeoutMs", self.timeout_ms, 100, 60_000),
            ("intervalMs", self.interval_ms, 50, 60_000),
            ("retries", self.retries, 0, 1000),
        ];
        for (field, value, low, high) in bounds {
            if value.is_some_and(|value| value < low || value > high) {
                return Err((field, InvalidValue(format!("must be {low} to {high}"))));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_refused_by_its_name() {
        let gate = |text: &str| serde_json::from_str::<HealthGate>(text).unwrap().check().map_err(|it| it.0);
        let at = |path: &str| HealthGate { path: Some(path.to_owned()), ..HealthGate::default() }.check();
        assert_eq!(gate(r#"{"path":"/ready?deep=1","timeoutMs":100,"intervalMs":50,"retries":0}"#), Ok(()));
        for path in ["ready", "", "/a b", "/\r\nx", "/#x"] {
            assert_eq!(at(path).map_err(|it| it.0), Err("path"), "{path:?}");
        }
        assert_eq!(gate(r#"{"timeoutMs":99}"#), Err("timeoutMs"));
        assert_eq!(gate(r#"{"intervalMs":49}"#), Err("intervalMs"));
        assert_eq!(gate(r#"{"retries":1001}"#), Err("retries"));
        assert_eq!(serde_json::to_string(&HealthGate::default()).unwrap(), "{}");
    }
}
