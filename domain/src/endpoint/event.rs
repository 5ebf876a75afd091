//! What can happen to an endpoint.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::EndpointSettings;
use crate::ids::{OutboundId, TeamId};
use crate::sealed::Sealed;

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyDisabled {
    /// Somebody wants it so.
    Asked,
    /// It has answered that it is gone.
    Gone,
    /// Nothing could be delivered for days.
    Failing,
}

/// Events of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EndpointEvent {
    /// It exists, and is told what happens from now on.
    #[serde(rename = "endpoint.created")]
    EndpointCreated {
        /// Whose.
        team_id: TeamId,
        /// What it is.
        settings: EndpointSettings,
        /// What its messages are signed with: a webhook's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<Sealed>,
    },
    /// It is something else.
    #[serde(rename = "endpoint.changed")]
    EndpointChanged {
        /// What it is from now on.
        settings: EndpointSettings,
    },
    /// Its messages are signed with another secret.
    #[serde(rename = "endpoint.secret_rotated")]
    EndpointSecretRotated {
        /// From now on.
        secret: Sealed,
        /// Until when the one before signs too.
        overlap_until: DateTime<Utc>,
    },
    /// It is told again what happens, from now on.
    #[serde(rename = "endpoint.enabled")]
    EndpointEnabled {},
    /// It is told nothing any more.
    #[serde(rename = "endpoint.disabled")]
    EndpointDisabled {
        /// Why.
        why: WhyDisabled,
    },
    /// Somebody wants to see whether it works.
    #[serde(rename = "endpoint.pinged")]
    EndpointPinged {},
    /// Somebody wants it to be sent something once more.
    #[serde(rename = "endpoint.redelivery_requested")]
    EndpointRedeliveryRequested {
        /// What it was sent.
        delivery_id: OutboundId,
    },
    /// Somebody wants it to be sent what has happened.
    #[serde(rename = "endpoint.replay_requested")]
    EndpointReplayRequested {
        /// Position of the log after which it begins.
        after: i64,
        /// The last position.
        upto: i64,
    },
    /// It is no more.
    #[serde(rename = "endpoint.deleted")]
    EndpointDeleted {},
}

impl DomainEvent for EndpointEvent {
    fn event_type(&self) -> String {
        match self {
            Self::EndpointCreated { .. } => "endpoint.created",
            Self::EndpointChanged { .. } => "endpoint.changed",
            Self::EndpointSecretRotated { .. } => "endpoint.secret_rotated",
            Self::EndpointEnabled {} => "endpoint.enabled",
            Self::EndpointDisabled { .. } => "endpoint.disabled",
            Self::EndpointPinged {} => "endpoint.pinged",
            Self::EndpointRedeliveryRequested { .. } => "endpoint.redelivery_requested",
            Self::EndpointReplayRequested { .. } => "endpoint.replay_requested",
            Self::EndpointDeleted {} => "endpoint.deleted",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
