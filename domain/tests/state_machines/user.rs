//! The rules of a user.

use std::collections::{BTreeMap, BTreeSet};

use domain::claim::ClaimScope;
use domain::ids::{ProjectId, SessionId, TeamId, TokenId, UserId};
use domain::sealed::{KeyOwner, Sealed};
use domain::user::UserCommand::*;
use domain::user::UserEvent::*;
use domain::user::{User, UserCommand, UserError, UserEvent};
use proptest::prelude::*;

use super::machine::{Answer, Model, name};
use super::values::{id, ids, sealings, texts};

/// Somebody's way: nobody yet, somebody, erased.
#[derive(Clone, Debug, Default)]
pub(crate) enum Rules {
    #[default]
    Nobody,
    Somebody(Account),
    Erased {
        identity: Identity,
    },
}

/// Provider and subject.
type Identity = (String, String);

#[derive(Clone, Debug)]
pub(crate) struct Account {
    identity: Identity,
    email_hash: String,
    /// First name, last name, picture: the value that each has.
    profile: [Option<Sealed>; 3],
    team: Option<TeamId>,
    project: Option<ProjectId>,
    sessions: BTreeSet<SessionId>,
    has_second_factor: bool,
    is_disabled: bool,
    /// Whether each still opens something.
    tokens: BTreeMap<TokenId, bool>,
}

fn seals() -> impl Strategy<Value = Sealed> {
    prop_oneof![4 => sealings(KeyOwner::User(id::<UserId>(1))), 1 => sealings(KeyOwner::System)]
}

impl Model for Rules {
    type Of = User;

    fn births() -> BoxedStrategy<UserCommand> {
        let identity = (texts::<String>(&["local", "oidc"]), texts::<String>(&["1", "2"]));
        (identity, texts::<String>(&["ann", "bob"]), [seals(), seals(), seals()])
            .prop_map(|((provider, subject), email_hash, [email, first_name, last_name])| RegisterUser {
                provider,
                subject,
                email,
                email_hash,
                first_name,
                last_name,
            })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<UserCommand> {
        let maybe = || prop::option::of(seals());
        prop_oneof![
            12 => (maybe(), maybe(), maybe()).prop_map(|(first_name, last_name, photo_url)| {
                ChangeUserProfile { first_name, last_name, photo_url }
            }),
            6 => prop::option::of(ids(2)).prop_map(|team_id| SwitchActiveTeam { team_id }),
            6 => prop::option::of(ids(2)).prop_map(|project_id| SwitchActiveProject { project_id }),
            2 => Just(ChangePassword),
            6 => prop_oneof![Just(EnableSecondFactor), Just(DisableSecondFactor)],
            2 => (0..10_u32).prop_map(|left| UseRecoveryCode { left }),
            9 => (ids(3), texts(&["local", "oidc"]))
                .prop_map(|(session_id, provider)| SignIn { session_id, provider }),
            9 => ids(3).prop_map(|session_id| SignOut { session_id }),
            9 => (ids(3), texts(&["x", "y"]), texts(&["ci", "laptop"])).prop_map(|(token_id, hash, name)| {
                let (prefix, last_four) = ("ma_x".to_owned(), "9f3a".to_owned());
                let (scopes, ip_allowlist) = (vec![], vec![]);
                CreateUserToken {
                    token_id,
                    name,
                    hash,
                    prefix,
                    last_four,
                    scopes,
                    ip_allowlist,
                    expires_at: None,
                }
            }),
            9 => (ids(3), texts(&["x", "y"])).prop_map(|(token_id, hash)| {
                let (prefix, last_four) = ("ma_z".to_owned(), "0001".to_owned());
                let overlap_until = chrono::DateTime::UNIX_EPOCH;
                RotateUserToken { token_id, hash, prefix, last_four, overlap_until, expires_at: None }
            }),
            9 => ids(3).prop_map(|token_id| RevokeUserToken { token_id }),
            1 => Just(DisableUser),
            1 => Just(EraseUser),
        ]
        .boxed()
    }

    fn is_born(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    fn obey(&mut self, command: UserCommand) -> Answer<Self> {
        match (&mut *self, command) {
            (Self::Nobody, RegisterUser { provider, subject, email, email_hash, first_name, last_name }) => {
                *self = Self::Somebody(Account {
                    identity: (provider.clone(), subject.clone()),
                    email_hash: email_hash.clone(),
                    profile: [Some(first_name.clone()), Some(last_name.clone()), None],
                    team: None,
                    project: None,
                    sessions: BTreeSet::new(),
                    has_second_factor: false,
                    is_disabled: false,
                    tokens: BTreeMap::new(),
                });
                Ok(vec![UserRegistered { provider, subject, email, email_hash, first_name, last_name }])
            }
            (Self::Nobody, _) => Err(UserError::Unknown),
            (
                Self::Somebody(Account { identity, .. }) | Self::Erased { identity },
                RegisterUser { provider, subject, .. },
            ) => {
                if *identity == (provider, subject) {
                    Ok(vec![])
                } else {
                    Err(UserError::OtherIdentity)
                }
            }
            (Self::Somebody(account), EraseUser) => {
                let (identity, email_hash) = (account.identity.clone(), account.email_hash.clone());
                *self = Self::Erased { identity: identity.clone() };
                Ok(vec![UserErased { provider: identity.0, subject: identity.1, email_hash }])
            }
            (Self::Somebody(account), DisableUser) if account.is_disabled => Ok(vec![]),
            (Self::Somebody(account), DisableUser) => {
                account.is_disabled = true;
                Ok(vec![UserDisabled { email_hash: std::mem::take(&mut account.email_hash) }])
            }
            (Self::Somebody(Account { is_disabled: true, .. }), _) => Err(UserError::Disabled),
            (Self::Somebody(account), command) => account.obey(command),
            (Self::Erased { .. }, EraseUser) => Ok(vec![]),
            (Self::Erased { .. }, _) => Err(UserError::Unknown),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let Self::Somebody(Account { identity: (provider, subject), email_hash, .. }) = self else {
            return BTreeSet::new();
        };
        let identity = name(ClaimScope::UserIdentity, &format!("{provider}/{subject}"));
        let address = Some(email_hash).filter(|hash| !hash.is_empty());
        address.map(|hash| name(ClaimScope::UserEmail, hash)).into_iter().chain([identity]).collect()
    }

    fn check(&self, _: &User, history: &[UserEvent]) {
        let erased = history.iter().position(|event| matches!(event, UserErased { .. }));
        assert!(erased.is_none_or(|at| at + 1 == history.len()), "nothing follows the end");
        let mut revoked = BTreeSet::new();
        for event in history {
            match event {
                UserTokenRevoked { token_id } => assert!(revoked.insert(token_id), "revoked once"),
                UserTokenCreated { token_id, .. } => {
                    assert!(!revoked.contains(token_id), "what is revoked stays so");
                }
                _ => {}
            }
        }
    }
}

impl Account {
    fn obey(&mut self, command: UserCommand) -> Answer<Rules> {
        match command {
            ChangeUserProfile { first_name, last_name, photo_url } => {
                let mut news = [first_name, last_name, photo_url];
                for (new, known) in news.iter_mut().zip(&mut self.profile) {
                    let value =
                        |sealed: &Option<Sealed>| sealed.clone().map(|it| (it.key.to_string(), it.mark));
                    if new.is_none() || value(new) == value(known) {
                        *new = None;
                    } else {
                        known.clone_from(new);
                    }
                }
                let [first_name, last_name, photo_url] = news;
                if (&first_name, &last_name, &photo_url) == (&None, &None, &None) {
                    return Ok(vec![]);
                }
                Ok(vec![UserProfileChanged { first_name, last_name, photo_url }])
            }
            SwitchActiveTeam { team_id } => {
                let before = std::mem::replace(&mut self.team, team_id);
                Ok(if before == team_id { vec![] } else { vec![UserActiveTeamSwitched { team_id }] })
            }
            SwitchActiveProject { project_id } => {
                let before = std::mem::replace(&mut self.project, project_id);
                Ok(if before == project_id { vec![] } else { vec![UserActiveProjectSwitched { project_id }] })
            }
            ChangePassword => Ok(vec![UserPasswordChanged {}]),
            EnableSecondFactor => {
                let had = std::mem::replace(&mut self.has_second_factor, true);
                Ok(if had { vec![] } else { vec![UserSecondFactorEnabled {}] })
            }
            DisableSecondFactor => {
                let had = std::mem::replace(&mut self.has_second_factor, false);
                Ok(if had { vec![UserSecondFactorDisabled {}] } else { vec![] })
            }
            UseRecoveryCode { left } => Ok(vec![UserRecoveryCodeUsed { left }]),
            SignIn { session_id, provider } => {
                let is_new = self.sessions.insert(session_id);
                Ok(if is_new { vec![UserSignedIn { session_id, provider }] } else { vec![] })
            }
            SignOut { session_id } => {
                let there = self.sessions.remove(&session_id);
                there.then(|| vec![UserSignedOut { session_id }]).ok_or(UserError::UnknownSession)
            }
            CreateUserToken { .. } | RotateUserToken { .. } | RevokeUserToken { .. } => {
                self.obey_token(command)
            }
            RegisterUser { .. } | DisableUser | EraseUser => unreachable!("answered before"),
        }
    }

    fn obey_token(&mut self, command: UserCommand) -> Answer<Rules> {
        match command {
            CreateUserToken { token_id, name, hash, prefix, last_four, scopes, ip_allowlist, expires_at } => {
                // Asked again it is the same token: one that was revoked never opens anything again.
                if self.tokens.contains_key(&token_id) {
                    return Ok(vec![]);
                }
                self.tokens.insert(token_id, true);
                let last_four = Some(last_four);
                Ok(vec![UserTokenCreated {
                    token_id,
                    name,
                    hash,
                    prefix,
                    last_four,
                    scopes,
                    ip_allowlist,
                    expires_at,
                }])
            }
            RotateUserToken { token_id, hash, prefix, last_four, overlap_until, expires_at } => {
                let valid = self.tokens.get(&token_id).is_some_and(|valid| *valid);
                let rotated =
                    UserTokenRotated { token_id, hash, prefix, last_four, overlap_until, expires_at };
                valid.then(|| vec![rotated]).ok_or(UserError::UnknownToken)
            }
            RevokeUserToken { token_id } => {
                let Some(valid) = self.tokens.get_mut(&token_id).filter(|valid| **valid) else {
                    return Err(UserError::UnknownToken);
                };
                *valid = false;
                Ok(vec![UserTokenRevoked { token_id }])
            }
            _ => unreachable!("called with a token only"),
        }
    }
}
