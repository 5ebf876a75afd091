//! A person who can sign in.
//!
//! Invariant: who was erased or disabled does nothing any more, and nobody is made of what is left.
//! Invariant: an identity (provider and subject) and an e-mail address belong to one user at most.

mod command;
mod error;
mod event;

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::claim::{Claim, ClaimScope};
use crate::fact::{Fact, Stored};
use crate::ids::{ProjectId, SessionId, TeamId, TokenId, UserId};
use crate::sealed::Sealed;

pub use command::UserCommand;
pub use error::UserError;
pub use event::UserEvent;

/// Only what is needed to decide.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct User {
    identity: Option<(String, String)>,
    first_name: Option<Sealed>,
    last_name: Option<Sealed>,
    photo_url: Option<Sealed>,
    active_team: Option<TeamId>,
    active_project: Option<ProjectId>,
    sessions: BTreeSet<SessionId>,
    tokens: BTreeSet<TokenId>,
    /// Never again a token of these ids.
    revoked_tokens: BTreeSet<TokenId>,
    #[serde(default)]
    email_hash: String,
    #[serde(default)]
    erased: bool,
    #[serde(default)]
    has_second_factor: bool,
    #[serde(default)]
    disabled: bool,
}

impl User {
    /// Whether the sign-in provider has the account no more.
    pub fn is_disabled(&self) -> bool {
        self.disabled
    }

    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        use UserCommand::*;
        use UserEvent::*;
        if let RegisterUser { provider, subject, email, email_hash, first_name, last_name } = command {
            return match &self.identity {
                None => {
                    Ok(vec![UserRegistered { provider, subject, email, email_hash, first_name, last_name }])
                }
                Some(known) if *known == (provider, subject) => Ok(vec![]),
                Some(_) => Err(UserError::OtherIdentity),
            };
        }
        let Some((provider, subject)) = self.identity.clone() else { return Err(UserError::Unknown) };
        Ok(match command {
            EraseUser if self.erased => vec![],
            _ if self.erased => return Err(UserError::Unknown),
            EraseUser => vec![UserErased { provider, subject, email_hash: self.email_hash.clone() }],
            DisableUser if self.disabled => vec![],
            DisableUser => vec![UserDisabled { email_hash: self.email_hash.clone() }],
            _ if self.disabled => return Err(UserError::Disabled),
            RegisterUser { .. } => unreachable!("answered above"),
            ChangeUserProfile { first_name, last_name, photo_url } => {
                let first_name = changed(&self.first_name, first_name);
                let last_name = changed(&self.last_name, last_name);
                let photo_url = changed(&self.photo_url, photo_url);
                if first_name.is_none() && last_name.is_none() && photo_url.is_none() {
                    return Ok(vec![]);
                }
                vec![UserProfileChanged { first_name, last_name, photo_url }]
            }
            SwitchActiveTeam { team_id } if team_id == self.active_team => vec![],
            SwitchActiveTeam { team_id } => vec![UserActiveTeamSwitched { team_id }],
            SwitchActiveProject { project_id } if project_id == self.active_project => vec![],
            SwitchActiveProject { project_id } => vec![UserActiveProjectSwitched { project_id }],
            ChangePassword => vec![UserPasswordChanged {}],
            EnableSecondFactor if self.has_second_factor => vec![],
            EnableSecondFactor => vec![UserSecondFactorEnabled {}],
            DisableSecondFactor if self.has_second_factor => vec![UserSecondFactorDisabled {}],
            DisableSecondFactor => vec![],
            UseRecoveryCode { left } => vec![UserRecoveryCodeUsed { left }],
            SignIn { session_id, .. } if self.sessions.contains(&session_id) => vec![],
            SignIn { session_id, provider } => vec![UserSignedIn { session_id, provider }],
            SignOut { session_id } if self.sessions.contains(&session_id) => {
                vec![UserSignedOut { session_id }]
            }
            SignOut { .. } => return Err(UserError::UnknownSession),
            CreateUserToken { token_id, .. } if self.knows_token(token_id) => vec![],
            CreateUserToken { token_id, name, hash, prefix, last_four, scopes, ip_allowlist, expires_at } => {
                let last_four = Some(last_four);
                vec![UserTokenCreated {
                    token_id,
                    name,
                    hash,
                    prefix,
                    last_four,
                    scopes,
                    ip_allowlist,
                    expires_at,
                }]
            }
            RotateUserToken { token_id, .. } if !self.tokens.contains(&token_id) => {
                return Err(UserError::UnknownToken);
            }
            RotateUserToken { token_id, hash, prefix, last_four, overlap_until, expires_at } => {
                vec![UserTokenRotated { token_id, hash, prefix, last_four, overlap_until, expires_at }]
            }
            RevokeUserToken { token_id } if self.tokens.contains(&token_id) => {
                vec![UserTokenRevoked { token_id }]
            }
            RevokeUserToken { .. } => return Err(UserError::UnknownToken),
        })
    }

    fn knows_token(&self, id: TokenId) -> bool {
        self.tokens.contains(&id) || self.revoked_tokens.contains(&id)
    }
}

/// The new value, unless it is the old one.
fn changed(old: &Option<Sealed>, new: Option<Sealed>) -> Option<Sealed> {
    new.filter(|new| !old.as_ref().is_some_and(|old| old.same_value(new)))
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserError;
    type Services = ();

    async fn handle(
        &mut self,
        command: UserCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), UserError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: UserEvent) {
        use UserEvent::*;
        match event {
            UserRegistered { provider, subject, email_hash, first_name, last_name, .. } => {
                self.email_hash = email_hash;
                self.identity = Some((provider, subject));
                self.first_name = Some(first_name);
                self.last_name = Some(last_name);
            }
            UserProfileChanged { first_name, last_name, photo_url } => {
                self.first_name = first_name.or(self.first_name.take());
                self.last_name = last_name.or(self.last_name.take());
                self.photo_url = photo_url.or(self.photo_url.take());
            }
            UserActiveTeamSwitched { team_id } => self.active_team = team_id,
            UserActiveProjectSwitched { project_id } => self.active_project = project_id,
            UserPasswordChanged {} | UserRecoveryCodeUsed { .. } | UserTokenRotated { .. } => {}
            UserSecondFactorEnabled {} => self.has_second_factor = true,
            UserSecondFactorDisabled {} => self.has_second_factor = false,
            UserSignedIn { session_id, .. } => {
                self.sessions.insert(session_id);
            }
            UserSignedOut { session_id } => {
                self.sessions.remove(&session_id);
            }
            UserTokenCreated { token_id, .. } => {
                self.tokens.insert(token_id);
            }
            UserTokenRevoked { token_id } => {
                self.tokens.remove(&token_id);
                self.revoked_tokens.insert(token_id);
            }
            UserDisabled { .. } => {
                self.disabled = true;
                self.email_hash.clear();
                self.sessions.clear();
                self.revoked_tokens.append(&mut self.tokens);
            }
            UserErased { .. } => {
                *self = Self { identity: self.identity.take(), erased: true, ..Self::default() };
            }
        }
    }
}

/// The name of an identity that one user may have. An issuer's URL ends where the blank is: two identities never have
/// the same name.
pub fn identity_key(provider: &str, subject: &str) -> String {
    let between = if provider.contains(':') { ' ' } else { '/' };
    format!("{provider}{between}{subject}")
}

impl Stored for User {
    type Id = UserId;

    /// 2: it knows the tokens that were revoked. 3: it knows of a second factor. 4: it may be disabled.
    const STATE_VERSION: i32 = 4;

    fn claims(_: UserId, event: &UserEvent) -> Vec<Claim> {
        if let UserEvent::UserDisabled { email_hash } = event {
            let free = Claim::free(ClaimScope::UserEmail, email_hash.clone());
            return if email_hash.is_empty() { vec![] } else { vec![free] };
        }
        let (act, provider, subject, email_hash): (fn(ClaimScope, String) -> Claim, _, _, _) = match event {
            UserEvent::UserRegistered { provider, subject, email_hash, .. } => {
                (Claim::take, provider, subject, email_hash)
            }
            UserEvent::UserErased { provider, subject, email_hash } => {
                (Claim::free, provider, subject, email_hash)
            }
            _ => return vec![],
        };
        let mut claims = vec![act(ClaimScope::UserIdentity, identity_key(provider, subject))];
        if !email_hash.is_empty() {
            claims.insert(0, act(ClaimScope::UserEmail, email_hash.clone()));
        }
        claims
    }

    fn fact(id: UserId, event: UserEvent) -> Fact {
        Fact::User(id, event)
    }
}

#[cfg(test)]
mod tests;
