//! What is recorded of access.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{EnvironmentId, ProjectId, TeamId, UserId};
use crate::sealed::Sealed;
use crate::values::EnvKey;

/// Events of access. What a stranger sends stands in none of them in clear, nor does personal data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AccessEvent {
    /// Somebody may not do what he asked for, and was told so.
    #[serde(rename = "access.command_denied")]
    AccessCommandDenied {
        /// HTTP method.
        method: String,
        /// The route as the API lists it: `/api/v1/projects/{project}`.
        route: String,
        /// Status of the answer: 403, 404 for what the caller may not even see, or 429.
        status: u16,
        /// Code of the answer: `forbidden`.
        code: String,
        /// The right that the route needs: `project:update`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        needs: Option<String>,
        /// What it was about, when there is such a thing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<AccessTarget>,
        /// The project that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project_id: Option<ProjectId>,
    },
    /// Somebody could not prove who he is.
    #[serde(rename = "access.sign_in_failed")]
    AccessSignInFailed {
        /// Through which provider: `local`, or the name of one that is configured.
        provider: String,
        /// Why.
        reason: SignInFailure,
        /// Whose account it is, when there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_id: Option<UserId>,
        /// Keyed hash of the address, when there is no such account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email_hash: Option<String>,
    },
    /// A webhook was not signed by whom it says it is from.
    #[serde(rename = "access.signature_refused")]
    AccessSignatureRefused {
        /// Whom it says it is from: `github`.
        source: String,
        /// Why, in our words.
        reason: String,
    },
    /// Somebody takes the audit trail away. Recorded before the first byte.
    #[serde(rename = "access.audit_exported")]
    AccessAuditExported {
        /// Of which team.
        team_id: TeamId,
        /// Of which of its projects; of all when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project_id: Option<ProjectId>,
        /// As what: `ndjson`, `csv`, `ocsf`.
        format: String,
        /// Not before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<DateTime<Utc>>,
        /// Before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<DateTime<Utc>>,
        /// What else it was narrowed to, as JSON: people search for names and addresses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<Sealed>,
    },
    /// Somebody takes telemetry of a project away. Recorded before the first byte.
    #[serde(rename = "access.telemetry_exported")]
    AccessTelemetryExported {
        /// Of which team.
        team_id: TeamId,
        /// Of which of its projects.
        project_id: ProjectId,
        /// What.
        signal: TelemetrySignal,
        /// Not before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<DateTime<Utc>>,
        /// Before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<DateTime<Utc>>,
        /// Names of what else it was narrowed by; not what for, which may be somebody's name.
        filters: Vec<String>,
    },
    /// Somebody takes values of variables away. Recorded before the first byte.
    #[serde(rename = "access.secrets_exported")]
    AccessSecretsExported {
        /// Of which project.
        project_id: ProjectId,
        /// For which of its environments; for all when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment_id: Option<EnvironmentId>,
        /// Which.
        keys: Vec<EnvKey>,
        /// As what: `dotenv`.
        format: String,
    },
    /// There was more of it than is recorded one by one. Each that was not is counted by one of these events.
    #[serde(rename = "access.suppressed")]
    AccessSuppressed {
        /// How many.
        count: u64,
        /// The first of them.
        from: DateTime<Utc>,
        /// The last of them.
        to: DateTime<Utc>,
    },
}

/// What a denied command was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTarget {
    /// `team`, `project`, `environment`, `build`, `deployment`.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
}

/// Why somebody could not prove who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInFailure {
    /// Another password than the account's.
    WrongPassword,
    /// There is no such account.
    UnknownAccount,
    /// Tried too often: not even looked at.
    Throttled,
    /// Another setup token than the one that was made, or too late.
    WrongSetupToken,
    /// No invite that is open for this address.
    WrongInvite,
    /// Another code of the second factor, or one that was used.
    WrongCode,
    /// What came back from the provider belongs to no sign-in of this browser, or comes too late.
    WrongState,
    /// The provider did not let him in, or what it gave proves nothing.
    Unproved,
    /// His address is not among those that may come in.
    NotAdmitted,
    /// Another account has his address.
    AddressTaken,
    /// The provider has told that his account is gone.
    Disabled,
}

/// What telemetry is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TelemetrySignal {
    /// Spans of traces.
    Spans,
    /// Lines.
    Logs,
    /// Scores and feedback.
    Scores,
}

impl TelemetrySignal {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
            Self::Scores => "scores",
        }
    }
}

impl DomainEvent for AccessEvent {
    fn event_type(&self) -> String {
        match self {
            Self::AccessCommandDenied { .. } => "access.command_denied",
            Self::AccessSignInFailed { .. } => "access.sign_in_failed",
            Self::AccessSignatureRefused { .. } => "access.signature_refused",
            Self::AccessAuditExported { .. } => "access.audit_exported",
            Self::AccessTelemetryExported { .. } => "access.telemetry_exported",
            Self::AccessSecretsExported { .. } => "access.secrets_exported",
            Self::AccessSuppressed { .. } => "access.suppressed",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
