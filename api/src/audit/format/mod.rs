//! The forms in which the audit trail is taken away.

mod csv;
mod ocsf;

use serde::Deserialize;

use super::Shown;

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// JSON lines, as the list has them.
    #[default]
    Ndjson,
    /// Comma-separated values, RFC 4180.
    Csv,
    /// Events of the Open Cybersecurity Schema Framework as JSON lines.
    Ocsf,
}

impl Format {
    /// Its name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
        }
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Ocsf => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// The ending of its files.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf.ndjson",
        }
    }

    /// What comes before the first row.
    pub(super) fn head(self) -> String {
        match self {
            Self::Ndjson | Self::Ocsf => String::new(),
            Self::Csv => csv::head(),
        }
    }

    /// Adds a row.
    pub(super) fn write(self, shown: &Shown, out: &mut String) {
        match self {
            Self::Ndjson => line(&shown.to_json(), out),
            Self::Csv => csv::write(shown, out),
            Self::Ocsf => line(&ocsf::event(shown), out),
        }
    }
}

fn line(value: &serde_json::Value, out: &mut String) {
    out.push_str(&value.to_string());
    out.push('\n');
}

#[cfg(test)]
pub(super) mod sample {
    use chrono::DateTime;
    use projections::audit_trail::AuditRow;
    use serde_json::json;
    use uuid::Uuid;

    use super::Shown;

    /// A renamed project.
    pub(in crate::audit) fn shown() -> Shown {
        let id = Uuid::from_u128(7);
        let row = AuditRow {
            position: 12,
            event_id: id.into(),
            at: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
            team_id: Some(id.into()),
            project_id: Some(id.into()),
            actor: format!("user:{id}"),
            on_behalf_of: None,
            action: "project.settings_changed".into(),
            command: "ChangeProjectSettings".into(),
            outcome: "success".into(),
            resource: "project".into(),
            resource_id: id.to_string(),
            before: Some(json!({ "name": "=1+1" })),
            after: Some(json!({ "name": "a, \"b\"\nc" })),
            request_id: "-2+3".into(),
            causation: "request:1".into(),
            correlation: "request:1".into(),
            source_ip: None,
            user_agent: None,
            words: vec![],
        };
        Shown { row, source_ip: Some("192.0.2.1".into()), user_agent: Some("@SUM(A1)".into()) }
    }
}
