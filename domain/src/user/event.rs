//! What can happen to a user.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ids::{ProjectId, SessionId, TeamId, TokenId};
use crate::project::TokenScope;
use crate::sealed::Sealed;
use crate::values::DisplayName;

/// Events of a user. Personal data is sealed under the user's own key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum UserEvent {
    /// The user exists.
    #[serde(rename = "user.registered")]
    UserRegistered {
        /// Who vouches: `local`, or the URL of the issuer.
        provider: String,
        /// The user's id there.
        subject: String,
        /// The address; an empty text when nobody has verified one.
        email: Sealed,
        /// Keyed hash of the address, for uniqueness and look-up; empty when there is none.
        email_hash: String,
        /// First name.
        first_name: Sealed,
        /// Last name.
        last_name: Sealed,
    },
    /// Name or picture changed; what is absent stays.
    #[serde(rename = "user.profile_changed")]
    UserProfileChanged {
        /// New first name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_name: Option<Sealed>,
        /// New last name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_name: Option<Sealed>,
        /// New address of a picture.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        photo_url: Option<Sealed>,
    },
    /// The user looks at another team.
    #[serde(rename = "user.active_team_switched")]
    UserActiveTeamSwitched {
        /// That team, or none.
        team_id: Option<TeamId>,
    },
    /// The user looks at another project.
    #[serde(rename = "user.active_project_switched")]
    UserActiveProjectSwitched {
        /// That project, or none.
        project_id: Option<ProjectId>,
    },
    /// The password was set; its hash is kept outside the log.
    #[serde(rename = "user.password_changed")]
    UserPasswordChanged {},
    /// A second factor is asked for from now on; its secret is kept outside the log.
    #[serde(rename = "user.second_factor_enabled")]
    UserSecondFactorEnabled {},
    /// It is asked for no more.
    #[serde(rename = "user.second_factor_disabled")]
    UserSecondFactorDisabled {},
    /// A recovery code stood in for it.
    #[serde(rename = "user.recovery_code_used")]
    UserRecoveryCodeUsed {
        /// How many are left.
        left: u32,
    },
    /// A session began.
    #[serde(rename = "user.signed_in")]
    UserSignedIn {
        /// The session.
        session_id: SessionId,
        /// Through which provider.
        provider: String,
    },
    /// A session ended.
    #[serde(rename = "user.signed_out")]
    UserSignedOut {
        /// The session.
        session_id: SessionId,
    },
    /// A personal API token exists.
    #[serde(rename = "user.token_created")]
    UserTokenCreated {
        /// The token.
        token_id: TokenId,
        /// What its owner calls it.
        name: DisplayName,
        /// SHA-256 of the plain token, hex.
        hash: String,
        /// Its first characters, shown in lists.
        prefix: String,
        /// Its last four characters, shown in lists; none of tokens that were made before these were kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_four: Option<String>,
        /// What it may do of what its owner may; all of it when empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<TokenScope>,
        /// From where it is believed; from everywhere when empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ip_allowlist: Vec<IpNet>,
        /// From when on it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
    },
    /// A personal API token has another secret. The one before works for a while longer, those before it no more.
    #[serde(rename = "user.token_rotated")]
    UserTokenRotated {
        /// The token.
        token_id: TokenId,
        /// SHA-256 of the new secret, hex.
        hash: String,
        /// Its first characters.
        prefix: String,
        /// Its last four characters.
        last_four: String,
        /// From when on the secret before is refused.
        overlap_until: DateTime<Utc>,
        /// From when on the token is refused; as before when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
    },
    /// A personal API token is refused from now on.
    #[serde(rename = "user.token_revoked")]
    UserTokenRevoked {
        /// The token.
        token_id: TokenId,
    },
    /// The sign-in provider has the account no more: sessions and tokens have ended, and nobody signs in as this user
    /// again. The identity stays taken, so that what comes late from the provider makes nobody of it.
    #[serde(rename = "user.disabled")]
    UserDisabled {
        /// Keyed hash of the address, which is free again; empty when there was none.
        email_hash: String,
    },
    /// The user is no more: sessions and tokens have ended, and the key of all that was personal is destroyed.
    #[serde(rename = "user.erased")]
    UserErased {
        /// The sign-in provider that vouched.
        provider: String,
        /// The id that the user had there, which is free again.
        subject: String,
        /// Keyed hash of the address, which is free again.
        email_hash: String,
    },
}

impl DomainEvent for UserEvent {
    fn event_type(&self) -> String {
        match self {
            Self::UserRegistered { .. } => "user.registered",
            Self::UserProfileChanged { .. } => "user.profile_changed",
            Self::UserActiveTeamSwitched { .. } => "user.active_team_switched",
            Self::UserActiveProjectSwitched { .. } => "user.active_project_switched",
            Self::UserPasswordChanged {} => "user.password_changed",
            Self::UserSecondFactorEnabled {} => "user.second_factor_enabled",
            Self::UserSecondFactorDisabled {} => "user.second_factor_disabled",
            Self::UserRecoveryCodeUsed { .. } => "user.recovery_code_used",
            Self::UserSignedIn { .. } => "user.signed_in",
            Self::UserSignedOut { .. } => "user.signed_out",
            Self::UserTokenCreated { .. } => "user.token_created",
            Self::UserTokenRotated { .. } => "user.token_rotated",
            Self::UserTokenRevoked { .. } => "user.token_revoked",
            Self::UserDisabled { .. } => "user.disabled",
            Self::UserErased { .. } => "user.erased",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
