//! What can be asked of a user.

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::ids::{ProjectId, SessionId, TeamId, TokenId};
use crate::project::TokenScope;
use crate::sealed::Sealed;
use crate::values::DisplayName;

/// Commands of a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Makes the user. Asked again with the same identity, it is the same user.
    RegisterUser {
        /// Who vouches: `local`, or the URL of the issuer.
        provider: String,
        /// Id there.
        subject: String,
        /// Address.
        email: Sealed,
        /// Keyed hash of the address.
        email_hash: String,
        /// First name.
        first_name: Sealed,
        /// Last name.
        last_name: Sealed,
    },
    /// Changes what is given.
    ChangeUserProfile {
        /// First name.
        first_name: Option<Sealed>,
        /// Last name.
        last_name: Option<Sealed>,
        /// Address of a picture.
        photo_url: Option<Sealed>,
    },
    /// Looks at another team.
    SwitchActiveTeam {
        /// That team, or none.
        team_id: Option<TeamId>,
    },
    /// Looks at another project.
    SwitchActiveProject {
        /// That project, or none.
        project_id: Option<ProjectId>,
    },
    /// Notes that the password was set.
    ChangePassword,
    /// Has a second factor asked for.
    EnableSecondFactor,
    /// Asks for it no more.
    DisableSecondFactor,
    /// Notes that a recovery code was used.
    UseRecoveryCode {
        /// How many are left.
        left: u32,
    },
    /// Begins a session.
    SignIn {
        /// Its id.
        session_id: SessionId,
        /// Through which provider.
        provider: String,
    },
    /// Ends a session.
    SignOut {
        /// Its id.
        session_id: SessionId,
    },
    /// Makes a personal token.
    CreateUserToken {
        /// Its id.
        token_id: TokenId,
        /// Its name.
        name: DisplayName,
        /// SHA-256 of the plain token, hex.
        hash: String,
        /// Its first characters.
        prefix: String,
        /// Its last four characters.
        last_four: String,
        /// What it may do of what its owner may; all of it when empty.
        scopes: Vec<TokenScope>,
        /// From where it is believed; from everywhere when empty.
        ip_allowlist: Vec<IpNet>,
        /// When it ends.
        expires_at: Option<DateTime<Utc>>,
    },
    /// Gives a personal API token another secret.
    RotateUserToken {
        /// Its id.
        token_id: TokenId,
        /// SHA-256 of the new secret, hex.
        hash: String,
        /// Its first characters.
        prefix: String,
        /// Its last four characters.
        last_four: String,
        /// Until when the secret before works.
        overlap_until: DateTime<Utc>,
        /// When the token ends; as before when absent.
        expires_at: Option<DateTime<Utc>>,
    },
    /// Ends a personal token.
    RevokeUserToken {
        /// Its id.
        token_id: TokenId,
    },
    /// Ends whatever the user may do here, for good: the sign-in provider has the account no more.
    DisableUser,
    /// Ends the user for good; whoever sends it destroys the key afterwards.
    EraseUser,
}

impl UserCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RegisterUser { .. } => "RegisterUser",
            Self::ChangeUserProfile { .. } => "ChangeUserProfile",
            Self::SwitchActiveTeam { .. } => "SwitchActiveTeam",
            Self::SwitchActiveProject { .. } => "SwitchActiveProject",
            Self::ChangePassword => "ChangePassword",
            Self::EnableSecondFactor => "EnableSecondFactor",
            Self::DisableSecondFactor => "DisableSecondFactor",
            Self::UseRecoveryCode { .. } => "UseRecoveryCode",
            Self::SignIn { .. } => "SignIn",
            Self::SignOut { .. } => "SignOut",
            Self::CreateUserToken { .. } => "CreateUserToken",
            Self::RotateUserToken { .. } => "RotateUserToken",
            Self::RevokeUserToken { .. } => "RevokeUserToken",
            Self::DisableUser => "DisableUser",
            Self::EraseUser => "EraseUser",
        }
    }
}
