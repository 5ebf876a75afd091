//! What can be asked of an endpoint.

use chrono::{DateTime, Utc};

use super::{EndpointSettings, WhyDisabled};
use crate::ids::{OutboundId, TeamId};
use crate::sealed::Sealed;

/// Commands of an endpoint.
#[derive(Clone, Debug)]
pub enum EndpointCommand {
    /// Makes it.
    CreateEndpoint {
        /// Whose.
        team_id: TeamId,
        /// What it is.
        settings: EndpointSettings,
        /// What its messages are signed with: a webhook's.
        secret: Option<Sealed>,
    },
    /// Changes what it is, and whether it is sent anything.
    ChangeEndpoint {
        /// What it is from now on.
        settings: EndpointSettings,
        /// Whether it is sent anything; as it was when absent.
        enabled: Option<bool>,
    },
    /// Gives it another secret; for a while its messages are signed with both.
    RotateSecret {
        /// From now on.
        secret: Sealed,
        /// Until when the one before signs too.
        overlap_until: DateTime<Utc>,
    },
    /// Sends it nothing any more.
    DisableEndpoint {
        /// Why.
        why: WhyDisabled,
    },
    /// Sends it a message, whatever it wants to hear of.
    PingEndpoint,
    /// Sends it once more what it was sent.
    RequestRedelivery {
        /// What it was sent.
        delivery_id: OutboundId,
    },
    /// Sends it what has happened, as if it had been there.
    RequestReplay {
        /// Position of the log after which it begins.
        after: i64,
        /// The last position.
        upto: i64,
    },
    /// Ends it.
    DeleteEndpoint,
}

impl EndpointCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateEndpoint { .. } => "CreateEndpoint",
            Self::ChangeEndpoint { .. } => "ChangeEndpoint",
            Self::RotateSecret { .. } => "RotateSecret",
            Self::DisableEndpoint { .. } => "DisableEndpoint",
            Self::PingEndpoint => "PingEndpoint",
            Self::RequestRedelivery { .. } => "RequestRedelivery",
            Self::RequestReplay { .. } => "RequestReplay",
            Self::DeleteEndpoint => "DeleteEndpoint",
        }
    }
}
