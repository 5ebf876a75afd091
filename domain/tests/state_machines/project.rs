//! The rules of a project.

use std::collections::{BTreeMap, BTreeSet};

use domain::claim::ClaimScope;
use domain::ids::{EnvironmentId, HookId, SecretId, TeamId, TokenId};
use domain::project::ProjectCommand::*;
use domain::project::ProjectEvent::*;
use domain::project::{
    Availability, DeployKey, EnvVar, Environment, EnvironmentType, NewEnvVar, Project, ProjectCommand,
    ProjectError, ProjectEvent, ProjectSettings, Protection, RepositoryToken, TokenScope,
};
use domain::sealed::KeyOwner;
use domain::values::{BranchName, BranchPattern, EnvKey, HostKey};
use proptest::prelude::*;

use super::machine::{Answer, ID, Model, name};
use super::previews::previews;
use super::values::{good, id, ids, sealings, settings, texts};

/// A project's books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    born: Option<(TeamId, ProjectSettings)>,
    deleted: bool,
    pub(crate) environments: BTreeMap<EnvironmentId, Environment>,
    pub(crate) gone_environments: BTreeSet<EnvironmentId>,
    /// The variables of all environments, and of each.
    variables: BTreeMap<(Option<EnvironmentId>, EnvKey), EnvVar>,
    /// Whether each still opens something.
    tokens: BTreeMap<TokenId, bool>,
    repository_token: Option<RepositoryToken>,
    deploy_key: Option<(HostKey, SecretId)>,
    host_keys: Option<(String, BTreeSet<HostKey>)>,
    /// Whether each still takes deliveries.
    hooks: BTreeMap<HookId, bool>,
}

/// Keys of ssh servers, and of ours.
const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0N+mryEhIC04k5CDU1+j+FR1aAIWLbyL3CNHr20O86",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKenioNMfW9A2zexVsVP4IyY7EScNKIXXJNZae79Iizv",
];

/// Names of environments, and the slugs that are made of them.
const NAMES: [(&str, Option<&str>); 5] = [
    ("Staging", Some("staging")),
    ("staging!", Some("staging")),
    ("PR 7", Some("pr-7")),
    ("Production", Some("production")),
    ("日本", None),
];

fn names() -> impl Strategy<Value = domain::values::DisplayName> {
    prop::sample::select(&NAMES[..]).prop_map(|(name, _)| good(name))
}

fn branches() -> impl Strategy<Value = Option<BranchName>> {
    prop::option::of(texts(&["main", "next"]))
}

fn keys() -> impl Strategy<Value = EnvKey> {
    prop_oneof![9 => texts(&["KEY", "OTHER", "port"]), 1 => texts(&["PORT", "MASTRA_CLOUD_KEY", "GIT_DIR"])]
}

fn environments() -> impl Strategy<Value = ProjectCommand> {
    use EnvironmentType::*;
    let kinds = prop_oneof![1 => Just(Production), 5 => Just(Staging), 5 => Just(Preview)];
    prop_oneof![
        4 => (ids(9), names(), kinds, branches()).prop_map(|(environment_id, name, kind, branch)| {
            CreateEnvironment { environment_id, name, kind, branch }
        }),
        2 => (ids(4), prop::option::of(names()), prop::option::of(branches()), patterns(), protections())
            .prop_map(|(environment_id, name, branch, branch_pattern, protection)| ChangeEnvironment {
                environment_id, name, branch, branch_pattern, protection
            }),
        2 => ids(4).prop_map(|environment_id| DeleteEnvironment { environment_id }),
    ]
}

fn patterns() -> impl Strategy<Value = Option<Option<BranchPattern>>> {
    prop::option::of(prop::option::of(Just(good("release/*"))))
}

fn protections() -> impl Strategy<Value = Option<Protection>> {
    prop::option::of(prop::sample::select(&[Protection::Public, Protection::Team, Protection::Token][..]))
}

fn variables() -> impl Strategy<Value = ProjectCommand> {
    use Availability::*;
    let availability = prop::sample::select(&[Runtime, Build, Both][..]);
    let new = || {
        let value = sealings(KeyOwner::Project(ID.into()));
        (keys(), value, any::<bool>(), availability.clone()).prop_map(
            |(key, value, sensitive, availability)| NewEnvVar { key, value, sensitive, availability },
        )
    };
    prop_oneof![
        3 => (prop::option::of(ids(4)), prop::collection::vec(new(), 0..4), any::<bool>())
            .prop_map(|(environment_id, vars, replace)| SetEnvVars { environment_id, vars, replace }),
        6 => (prop::option::of(ids(4)), new()).prop_map(|(environment_id, new)| {
            let NewEnvVar { key, value, sensitive, availability } = new;
            SetEnvVar { key, environment_id, value, sensitive, availability }
        }),
        2 => (keys(), prop::option::of(ids(4)))
            .prop_map(|(key, environment_id)| DeleteEnvVar { key, environment_id }),
        2 => prop::collection::vec(keys(), 0..3).prop_map(|keys| RevealEnvVars { keys }),
    ]
}

fn tokens() -> impl Strategy<Value = ProjectCommand> {
    prop_oneof![
        (ids(3), texts(&["ci", "cd"]), texts(&["x", "y"])).prop_map(|(token_id, name, hash)| {
            let (prefix, scopes) = ("ma_x".to_owned(), vec![TokenScope::Deploy]);
            let last_four = "9f3a".to_owned();
            let ip_allowlist = vec![];
            CreateProjectToken {
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
        (ids(3), texts(&["x", "y"])).prop_map(|(token_id, hash)| {
            let (prefix, last_four) = ("ma_z".to_owned(), "0001".to_owned());
            let overlap_until = chrono::DateTime::UNIX_EPOCH;
            RotateProjectToken { token_id, hash, prefix, last_four, overlap_until, expires_at: None }
        }),
        ids(3).prop_map(|token_id| RevokeProjectToken { token_id }),
    ]
}

/// What opens the repository.
fn openers() -> impl Strategy<Value = ProjectCommand> {
    let seal = || sealings(KeyOwner::Project(ID.into()));
    let hosts = || prop::sample::select(&["a.example", "b.example"][..]).prop_map(str::to_owned);
    let overlap_until = chrono::DateTime::UNIX_EPOCH;
    prop_oneof![
        3 => (hosts(), texts(&["git", "ci"]), seal())
            .prop_map(|(host, username, token)| SetRepositoryToken { host, username, token }),
        1 => Just(RemoveRepositoryToken),
        3 => (texts(&KEYS), seal())
            .prop_map(move |(public_key, secret)| MakeDeployKey { public_key, secret, overlap_until }),
        1 => Just(RemoveDeployKey),
        3 => (hosts(), prop::collection::vec(texts(&KEYS), 0..3))
            .prop_map(|(host, keys)| PinHostKeys { host, keys }),
        3 => (ids(3), texts(&["x"]), seal()).prop_map(|(hook_id, name, secret)| {
            CreatePushHook { hook_id, name, secret, last_four: "9f3a".to_owned() }
        }),
        2 => (ids(3), seal()).prop_map(move |(hook_id, secret)| {
            RotatePushHook { hook_id, secret, last_four: "0001".to_owned(), overlap_until }
        }),
        1 => ids(3).prop_map(|hook_id| DeletePushHook { hook_id }),
    ]
}

impl Model for Rules {
    type Of = Project;

    fn births() -> BoxedStrategy<ProjectCommand> {
        (ids(2), settings(), ids(4))
            .prop_map(|(team_id, settings, production)| CreateProject { team_id, settings, production })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<ProjectCommand> {
        prop_oneof![
            5 => settings().prop_map(|settings| ChangeProjectSettings { settings }),
            1 => Just(DeleteProject),
            24 => environments(),
            12 => previews(),
            28 => variables(),
            10 => tokens(),
            16 => openers(),
        ]
        .boxed()
    }

    fn is_born(&self) -> bool {
        self.born.is_some()
    }

    fn obey(&mut self, command: ProjectCommand) -> Answer<Self> {
        let Some((team_id, known)) = self.born.clone() else { return self.begin(command) };
        if self.deleted {
            return if matches!(command, DeleteProject) { Ok(vec![]) } else { Err(ProjectError::Unknown) };
        }
        match command {
            CreateProject { team_id: team, settings, .. } => {
                let same = team == team_id && *settings == known;
                if same { Ok(vec![]) } else { Err(ProjectError::Exists) }
            }
            ChangeProjectSettings { settings } if *settings == known => Ok(vec![]),
            ChangeProjectSettings { settings } => {
                self.born = Some((team_id, *settings.clone()));
                Ok(vec![ProjectSettingsChanged { team_id, settings: *settings, old: known }])
            }
            DeleteProject => {
                self.deleted = true;
                Ok(vec![ProjectDeleted { team_id, slug: known.slug }])
            }
            CreateEnvironment { .. } | ChangeEnvironment { .. } | DeleteEnvironment { .. } => {
                self.obey_environment(command)
            }
            KeepPreview { .. } | ApprovePreview { .. } | ExpirePreview { .. } => self.obey_preview(command),
            SetEnvVar { .. } | SetEnvVars { .. } | DeleteEnvVar { .. } | RevealEnvVars { .. } => {
                self.obey_variable(command)
            }
            CreateProjectToken {
                token_id,
                name,
                hash,
                prefix,
                last_four,
                scopes,
                ip_allowlist,
                expires_at,
            } => {
                // Asked again it is the same token: one that was revoked never opens anything again.
                if self.tokens.contains_key(&token_id) {
                    return Ok(vec![]);
                }
                self.tokens.insert(token_id, true);
                let last_four = Some(last_four);
                Ok(vec![ProjectTokenCreated {
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
            RotateProjectToken { token_id, hash, prefix, last_four, overlap_until, expires_at } => {
                let valid = self.tokens.get(&token_id).is_some_and(|valid| *valid);
                let rotated =
                    ProjectTokenRotated { token_id, hash, prefix, last_four, overlap_until, expires_at };
                valid.then(|| vec![rotated]).ok_or(ProjectError::UnknownToken)
            }
            RevokeProjectToken { token_id } => {
                let valid = self.tokens.get_mut(&token_id).ok_or(ProjectError::UnknownToken)?;
                let was_valid = std::mem::replace(valid, false);
                was_valid.then(|| vec![ProjectTokenRevoked { token_id }]).ok_or(ProjectError::UnknownToken)
            }
            opener => self.obey_opener(opener),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let living = self.born.iter().filter(|_| !self.deleted);
        living.map(|(team, it)| name(ClaimScope::ProjectSlug, &format!("{team}/{}", it.slug))).collect()
    }

    fn check(&self, state: &Project, history: &[ProjectEvent]) {
        let lives = self.born.is_some() && !self.deleted;
        let living = self.born.as_ref().filter(|_| lives).map(|(team, settings)| (*team, settings));
        assert_eq!(state.living(), living);
        let seen: Vec<_> = (1..=9).filter_map(|number| state.environment(id(number))).collect();
        let known = self.environments.values().filter(|_| lives);
        assert!(seen.iter().copied().eq(known), "{seen:?}");
        let slugs: BTreeSet<_> = seen.iter().map(|it| &it.slug).collect();
        assert_eq!(slugs.len(), seen.len(), "slugs of environments differ");
        let production = seen.iter().filter(|it| it.kind == EnvironmentType::Production).count();
        assert_eq!(production, usize::from(lives), "a living project has one production environment");
        for environment in (1..=9).map(id::<EnvironmentId>) {
            let hold = |of| self.variables.range((of, good("A"))..).take_while(move |((it, _), _)| *it == of);
            let preview = self.environments.get(&environment).and_then(|it| it.pull_request.as_ref());
            let are_allowed =
                self.born.iter().any(|(_, it)| it.previews.as_ref().is_some_and(|it| it.production_secrets));
            // Of a pull request there are no secrets but its own, unless they are allowed and it is no fork.
            let is_seen = |variable: &EnvVar| match preview {
                Some(preview) if lives => !variable.sensitive || (are_allowed && !preview.is_fork),
                _ => true,
            };
            let both = hold(None).filter(|(_, it)| is_seen(it)).chain(hold(Some(environment)));
            let own_wins: BTreeMap<_, _> = both.map(|((_, key), variable)| (key, variable)).collect();
            let held: Vec<_> = own_wins.into_values().cloned().collect();
            assert_eq!(state.env_vars_in(environment), held, "the variables of {environment}");
        }
        let mut revoked = BTreeSet::new();
        for event in history {
            match event {
                ProjectEnvVarSet { key, .. } => assert!(!key.is_reserved(), "{key} is reserved"),
                ProjectTokenRevoked { token_id } => assert!(revoked.insert(token_id), "revoked once"),
                ProjectTokenCreated { token_id, .. } => {
                    assert!(!revoked.contains(token_id), "what is revoked stays so");
                }
                _ => {}
            }
        }
    }
}

impl Rules {
    fn begin(&mut self, command: ProjectCommand) -> Answer<Self> {
        let CreateProject { team_id, settings, production } = command else {
            return Err(ProjectError::Unknown);
        };
        self.born = Some((team_id, *settings.clone()));
        let environment = Environment {
            id: production,
            name: good("Production"),
            slug: good("production"),
            kind: EnvironmentType::Production,
            branch: None,
            branch_pattern: None,
            protection: Protection::Public,
            pull_request: None,
        };
        self.environments.insert(production, environment.clone());
        Ok(vec![ProjectCreated { team_id, settings: *settings }, ProjectEnvironmentCreated { environment }])
    }

    pub(crate) fn obey_environment(&mut self, command: ProjectCommand) -> Answer<Self> {
        match command {
            // Asked again it is the same environment: one that was deleted never comes back.
            CreateEnvironment { environment_id, .. }
                if self.environments.contains_key(&environment_id)
                    || self.gone_environments.contains(&environment_id) =>
            {
                Ok(vec![])
            }
            CreateEnvironment { kind: EnvironmentType::Production, .. } => {
                Err(ProjectError::ProductionIsFixed)
            }
            CreateEnvironment { environment_id, name, kind, branch } => {
                let (_, slug) = NAMES.iter().find(|(text, _)| *text == name.as_str()).unwrap();
                let taken = |slug: &&str| !self.environments.values().any(|it| it.slug.as_str() == *slug);
                let slug = good(slug.filter(taken).ok_or(ProjectError::EnvironmentNameTaken)?);
                let protection = Protection::Public;
                let environment = Environment {
                    id: environment_id,
                    name,
                    slug,
                    kind,
                    branch,
                    branch_pattern: None,
                    protection,
                    pull_request: None,
                };
                self.environments.insert(environment_id, environment.clone());
                Ok(vec![ProjectEnvironmentCreated { environment }])
            }
            ChangeEnvironment { environment_id, name, branch, branch_pattern, protection } => {
                let known =
                    self.environments.get_mut(&environment_id).ok_or(ProjectError::UnknownEnvironment)?;
                let old = known.clone();
                if let Some(name) = name {
                    known.name = name;
                }
                if let Some(branch) = branch {
                    known.branch = branch;
                }
                if let Some(pattern) = branch_pattern {
                    known.branch_pattern = pattern;
                }
                if let Some(protection) = protection {
                    known.protection = protection;
                }
                let environment = known.clone();
                Ok(if environment == old {
                    vec![]
                } else {
                    vec![ProjectEnvironmentChanged { environment, old }]
                })
            }
            DeleteEnvironment { environment_id } => {
                let known = self.environments.get(&environment_id).ok_or(ProjectError::UnknownEnvironment)?;
                if known.kind == EnvironmentType::Production {
                    return Err(ProjectError::ProductionIsFixed);
                }
                let slug = known.slug.clone();
                self.environments.remove(&environment_id);
                self.gone_environments.insert(environment_id);
                self.variables.retain(|(of, _), _| *of != Some(environment_id));
                Ok(vec![ProjectEnvironmentDeleted { environment_id, slug }])
            }
            _ => unreachable!("called with environments only"),
        }
    }

    fn obey_opener(&mut self, command: ProjectCommand) -> Answer<Self> {
        match command {
            SetRepositoryToken { host, username, token } => {
                let (value_id, mark) = (token.id, token.mark.clone());
                let new = RepositoryToken { host: host.clone(), username: username.clone(), value_id, mark };
                let old = self.repository_token.clone();
                // The same token sealed once more is no news.
                if old
                    .as_ref()
                    .is_some_and(|old| RepositoryToken { value_id: old.value_id, ..new.clone() } == *old)
                {
                    return Ok(vec![]);
                }
                self.repository_token = Some(new);
                Ok(vec![ProjectRepositoryTokenSet { host, username, token, old }])
            }
            RemoveRepositoryToken => {
                let old = self.repository_token.take().ok_or(ProjectError::NoRepositoryToken)?;
                Ok(vec![ProjectRepositoryTokenRemoved { old }])
            }
            MakeDeployKey { public_key, secret, overlap_until } => {
                if self.deploy_key.as_ref().is_some_and(|(known, _)| *known == public_key) {
                    return Ok(vec![]);
                }
                let old = self.deploy_key.replace((public_key.clone(), secret.id));
                let old = old.map(|(public_key, key_id)| DeployKey { public_key, key_id });
                Ok(vec![ProjectDeployKeyMade { public_key, secret, old, overlap_until }])
            }
            RemoveDeployKey => {
                let (public_key, key_id) = self.deploy_key.take().ok_or(ProjectError::NoDeployKey)?;
                Ok(vec![ProjectDeployKeyRemoved { old: DeployKey { public_key, key_id } }])
            }
            PinHostKeys { host, keys } => {
                let keys: BTreeSet<HostKey> = keys.into_iter().collect();
                let known = self.host_keys.clone().unwrap_or_default();
                if known.1 == keys && (known.0 == host || keys.is_empty()) {
                    return Ok(vec![]);
                }
                self.host_keys = Some((host.clone(), keys.clone()));
                let (keys, old_keys) = (keys.into_iter().collect(), known.1.into_iter().collect());
                Ok(vec![ProjectHostKeysPinned { host, keys, old_keys }])
            }
            CreatePushHook { hook_id, name, secret, last_four } => {
                if self.hooks.contains_key(&hook_id) {
                    return Ok(vec![]);
                }
                self.hooks.insert(hook_id, true);
                Ok(vec![ProjectPushHookCreated { hook_id, name, secret, last_four }])
            }
            RotatePushHook { hook_id, secret, last_four, overlap_until } => {
                let lives = self.hooks.get(&hook_id) == Some(&true);
                let rotated = ProjectPushHookRotated { hook_id, secret, last_four, overlap_until };
                lives.then(|| vec![rotated]).ok_or(ProjectError::UnknownPushHook)
            }
            DeletePushHook { hook_id } => match self.hooks.get_mut(&hook_id) {
                Some(lives) if *lives => {
                    *lives = false;
                    Ok(vec![ProjectPushHookDeleted { hook_id }])
                }
                _ => Err(ProjectError::UnknownPushHook),
            },
            _ => unreachable!("called with what opens a repository only"),
        }
    }

    fn obey_variable(&mut self, command: ProjectCommand) -> Answer<Self> {
        match command {
            SetEnvVar { key, .. } if ["PORT", "MASTRA_CLOUD_KEY"].contains(&key.as_str()) => {
                Err(ProjectError::ReservedEnvVar { key, why: "the platform sets it itself" })
            }
            SetEnvVar { key, availability, .. }
                if key.as_str() == "GIT_DIR" && availability != Availability::Runtime =>
            {
                let why = "it changes what the tools of the build fetch, run and keep";
                Err(ProjectError::EnvVarNotAtBuild { key, why })
            }
            SetEnvVars { environment_id, vars, replace } => {
                if environment_id.is_some_and(|it| !self.environments.contains_key(&it)) {
                    return Err(ProjectError::UnknownEnvironment);
                }
                let mut next = self.clone();
                let is_gone = |(of, key): &&(Option<EnvironmentId>, EnvKey)| {
                    replace && *of == environment_id && !vars.iter().any(|var| var.key == *key)
                };
                let gone: Vec<_> = self.variables.keys().filter(is_gone).cloned().collect();
                let gone = gone.into_iter().map(|(environment_id, key)| DeleteEnvVar { key, environment_id });
                let set = vars.iter().cloned().map(|NewEnvVar { key, value, sensitive, availability }| {
                    SetEnvVar { key, environment_id, value, sensitive, availability }
                });
                let mut events = vec![];
                for command in gone.chain(set) {
                    events.extend(next.obey_variable(command)?);
                }
                *self = next;
                Ok(events)
            }
            SetEnvVar { key, environment_id, value, sensitive, availability } => {
                if environment_id.is_some_and(|it| !self.environments.contains_key(&it)) {
                    return Err(ProjectError::UnknownEnvironment);
                }
                let (value_id, mark) = (value.id, value.mark.clone());
                let place = (environment_id, key.clone());
                let old = self.variables.get(&place).cloned();
                let it = EnvVar { key: key.clone(), environment_id, value_id, mark, sensitive, availability };
                // The same value sealed once more is no news.
                if old.as_ref().is_some_and(|old| EnvVar { value_id: old.value_id, ..it.clone() } == *old) {
                    return Ok(vec![]);
                }
                self.variables.insert(place, it);
                Ok(vec![ProjectEnvVarSet { key, environment_id, value, sensitive, availability, old }])
            }
            DeleteEnvVar { key, environment_id } => {
                let old = self.variables.remove(&(environment_id, key)).ok_or(ProjectError::UnknownEnvVar)?;
                Ok(vec![ProjectEnvVarDeleted { old }])
            }
            RevealEnvVars { keys } => {
                let set: BTreeSet<_> = self.variables.keys().map(|(_, key)| key).collect();
                if keys.iter().any(|key| !set.contains(key)) {
                    return Err(ProjectError::UnknownEnvVar);
                }
                Ok(if keys.is_empty() { vec![] } else { vec![ProjectEnvVarsRevealed { keys }] })
            }
            _ => unreachable!("called with variables only"),
        }
    }
}
