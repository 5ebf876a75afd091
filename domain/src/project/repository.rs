//! What a project decides about what opens its repository, and about the webhooks that tell of pushes to it.

use serde::{Deserialize, Serialize};

use super::{ProjectCommand, ProjectError, ProjectEvent};
use crate::ids::{HookId, SecretId};
use crate::sealed::Sealed;
use crate::values::{GitUsername, HostKey};

/// More would only make it unclear who tells of a push.
const MAX_PUSH_HOOKS: usize = 20;

/// A username with a token, as it was set; the token is found by `value_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryToken {
    /// The host that it is for; no other is ever sent it.
    pub host: String,
    /// The name that the host asks for beside it.
    pub username: GitUsername,
    /// The sealed token.
    pub value_id: SecretId,
    /// Keyed hash of the token.
    pub mark: String,
}

/// A key pair that was made here; the host is told the public half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployKey {
    /// The public half, as `ssh-ed25519 AAAA…`.
    pub public_key: HostKey,
    /// The sealed private half.
    pub key_id: SecretId,
}

/// The part of a project that this file decides about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Access {
    token: Option<RepositoryToken>,
    deploy_key: Option<DeployKey>,
    /// The ssh host that is known, and its keys.
    host_keys: Option<(String, Vec<HostKey>)>,
    hooks: Vec<HookId>,
    /// Never again a hook of these ids.
    deleted_hooks: Vec<HookId>,
}

impl Access {
    pub(super) fn decide(&self, command: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        use ProjectCommand::*;
        use ProjectEvent::*;
        match command {
            SetRepositoryToken { host, username, token } => {
                let old = self.token.clone();
                let is_same = |old: &RepositoryToken| {
                    (&old.host, &old.username, &old.mark) == (&host, &username, &token.mark)
                };
                if old.as_ref().is_some_and(is_same) {
                    return Ok(vec![]);
                }
                Ok(vec![ProjectRepositoryTokenSet { host, username, token, old }])
            }
            RemoveRepositoryToken => match self.token.clone() {
                Some(old) => Ok(vec![ProjectRepositoryTokenRemoved { old }]),
                None => Err(ProjectError::NoRepositoryToken),
            },
            MakeDeployKey { public_key, secret, overlap_until } => {
                if self.deploy_key.as_ref().is_some_and(|key| key.public_key == public_key) {
                    return Ok(vec![]);
                }
                let old = self.deploy_key.clone();
                Ok(vec![ProjectDeployKeyMade { public_key, secret, old, overlap_until }])
            }
            RemoveDeployKey => match self.deploy_key.clone() {
                Some(old) => Ok(vec![ProjectDeployKeyRemoved { old }]),
                None => Err(ProjectError::NoDeployKey),
            },
            PinHostKeys { host, keys } => self.pin(host, keys),
            CreatePushHook { .. } | RotatePushHook { .. } | DeletePushHook { .. } => {
                self.decide_hook(command)
            }
            _ => unreachable!("called with what opens a repository only"),
        }
    }

    fn pin(&self, host: String, mut keys: Vec<HostKey>) -> Result<Vec<ProjectEvent>, ProjectError> {
        keys.sort();
        keys.dedup();
        let (old_host, old_keys) = self.host_keys.clone().unwrap_or_default();
        if old_keys == keys && (old_host == host || keys.is_empty()) {
            return Ok(vec![]);
        }
        Ok(vec![ProjectEvent::ProjectHostKeysPinned { host, keys, old_keys }])
    }

    fn decide_hook(&self, command: ProjectCommand) -> Result<Vec<ProjectEvent>, ProjectError> {
        use ProjectCommand::*;
        use ProjectEvent::*;
        match command {
            CreatePushHook { hook_id, .. }
                if self.hooks.contains(&hook_id) || self.deleted_hooks.contains(&hook_id) =>
            {
                Ok(vec![])
            }
            CreatePushHook { .. } if self.hooks.len() >= MAX_PUSH_HOOKS => {
                Err(ProjectError::TooManyPushHooks)
            }
            CreatePushHook { hook_id, name, secret, last_four } => {
                Ok(vec![ProjectPushHookCreated { hook_id, name, secret, last_four }])
            }
            RotatePushHook { hook_id, .. } | DeletePushHook { hook_id } if !self.hooks.contains(&hook_id) => {
                Err(ProjectError::UnknownPushHook)
            }
            RotatePushHook { hook_id, secret, last_four, overlap_until } => {
                Ok(vec![ProjectPushHookRotated { hook_id, secret, last_four, overlap_until }])
            }
            DeletePushHook { hook_id } => Ok(vec![ProjectPushHookDeleted { hook_id }]),
            _ => unreachable!("called with a hook only"),
        }
    }

    pub(super) fn apply(&mut self, event: ProjectEvent) {
        use ProjectEvent::*;
        match event {
            ProjectRepositoryTokenSet { host, username, token, .. } => {
                let Sealed { id: value_id, mark, .. } = token;
                self.token = Some(RepositoryToken { host, username, value_id, mark });
            }
            ProjectRepositoryTokenRemoved { .. } => self.token = None,
            ProjectDeployKeyMade { public_key, secret, .. } => {
                self.deploy_key = Some(DeployKey { public_key, key_id: secret.id });
            }
            ProjectDeployKeyRemoved { .. } => self.deploy_key = None,
            ProjectHostKeysPinned { host, keys, .. } => self.host_keys = Some((host, keys)),
            ProjectPushHookCreated { hook_id, .. } => self.hooks.push(hook_id),
            ProjectPushHookDeleted { hook_id } => {
                self.hooks.retain(|hook| *hook != hook_id);
                self.deleted_hooks.push(hook_id);
            }
            _ => {}
        }
    }
}
