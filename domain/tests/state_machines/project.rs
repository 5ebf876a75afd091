//! The rules of a project.

use std::collections::{BTreeMap, BTreeSet};

use domain::claim::ClaimScope;
use domain::ids::{EnvironmentId, TeamId, TokenId};
use domain::project::ProjectCommand::*;
use domain::project::ProjectEvent::*;
use domain::project::{
    Availability, EnvVar, Environment, EnvironmentType, Project, ProjectCommand, ProjectError, ProjectEvent,
    ProjectSettings, TokenScope,
};
use domain::sealed::KeyOwner;
use domain::values::{BranchName, EnvKey};
use proptest::prelude::*;

use super::machine::{Answer, ID, Model, name};
use super::values::{good, id, ids, sealings, texts};

/// A project's books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    born: Option<(TeamId, ProjectSettings)>,
    deleted: bool,
    environments: BTreeMap<EnvironmentId, Environment>,
    /// The variables of all environments, and of each.
    variables: BTreeMap<(Option<EnvironmentId>, EnvKey), EnvVar>,
    /// Whether each still opens something.
    tokens: BTreeMap<TokenId, bool>,
}

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

fn settings() -> impl Strategy<Value = Box<ProjectSettings>> {
    (texts(&["Agent", "Bot"]), texts(&["agent", "bot"]), prop::option::of(Just(4111u16))).prop_map(
        |(name, slug, port)| {
            Box::new(ProjectSettings {
                name,
                slug,
                repo_url: good("https://example.org/agent.git"),
                branch: good("main"),
                project_root: good("."),
                mastra_directory: good("src/mastra"),
                install_command: None,
                build_command: None,
                port,
                min_scale: None,
                resources: Default::default(),
                installation_id: None,
            })
        },
    )
}

fn branches() -> impl Strategy<Value = Option<BranchName>> {
    prop::option::of(texts(&["main", "next"]))
}

fn keys() -> impl Strategy<Value = EnvKey> {
    prop_oneof![9 => texts(&["KEY", "OTHER", "port"]), 1 => texts(&["PORT", "MASTRA_CLOUD_KEY"])]
}

fn environments() -> impl Strategy<Value = ProjectCommand> {
    use EnvironmentType::*;
    let kinds = prop_oneof![1 => Just(Production), 5 => Just(Staging), 5 => Just(Preview)];
    prop_oneof![
        4 => (ids(4), names(), kinds, branches()).prop_map(|(environment_id, name, kind, branch)| {
            CreateEnvironment { environment_id, name, kind, branch }
        }),
        2 => (ids(4), prop::option::of(names()), prop::option::of(branches()))
            .prop_map(|(environment_id, name, branch)| ChangeEnvironment { environment_id, name, branch }),
        2 => ids(4).prop_map(|environment_id| DeleteEnvironment { environment_id }),
    ]
}

fn variables() -> impl Strategy<Value = ProjectCommand> {
    use Availability::*;
    let availability = prop::sample::select(&[Runtime, Build, Both][..]);
    let value = sealings(KeyOwner::Project(ID.into()));
    let set = (keys(), prop::option::of(ids(4)), value, any::<bool>(), availability);
    prop_oneof![
        6 => set.prop_map(|(key, environment_id, value, sensitive, availability)| {
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
            28 => variables(),
            10 => tokens(),
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
            SetEnvVar { .. } | DeleteEnvVar { .. } | RevealEnvVars { .. } => self.obey_variable(command),
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
        let seen: Vec<_> = (1..=5).filter_map(|number| state.environment(id(number))).collect();
        let known = self.environments.values().filter(|_| lives);
        assert!(seen.iter().copied().eq(known), "{seen:?}");
        let slugs: BTreeSet<_> = seen.iter().map(|it| &it.slug).collect();
        assert_eq!(slugs.len(), seen.len(), "slugs of environments differ");
        let production = seen.iter().filter(|it| it.kind == EnvironmentType::Production).count();
        assert_eq!(production, usize::from(lives), "a living project has one production environment");
        for environment in (1..=5).map(id::<EnvironmentId>) {
            let hold = |of| self.variables.range((of, good("A"))..).take_while(move |((it, _), _)| *it == of);
            let both = hold(None).chain(hold(Some(environment)));
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
        };
        self.environments.insert(production, environment.clone());
        Ok(vec![ProjectCreated { team_id, settings: *settings }, ProjectEnvironmentCreated { environment }])
    }

    fn obey_environment(&mut self, command: ProjectCommand) -> Answer<Self> {
        match command {
            CreateEnvironment { environment_id, .. } if self.environments.contains_key(&environment_id) => {
                Ok(vec![])
            }
            CreateEnvironment { kind: EnvironmentType::Production, .. } => {
                Err(ProjectError::ProductionIsFixed)
            }
            CreateEnvironment { environment_id, name, kind, branch } => {
                let (_, slug) = NAMES.iter().find(|(text, _)| *text == name.as_str()).unwrap();
                let taken = |slug: &&str| !self.environments.values().any(|it| it.slug.as_str() == *slug);
                let slug = good(slug.filter(taken).ok_or(ProjectError::EnvironmentNameTaken)?);
                let environment = Environment { id: environment_id, name, slug, kind, branch };
                self.environments.insert(environment_id, environment.clone());
                Ok(vec![ProjectEnvironmentCreated { environment }])
            }
            ChangeEnvironment { environment_id, name, branch } => {
                let known =
                    self.environments.get_mut(&environment_id).ok_or(ProjectError::UnknownEnvironment)?;
                let old = known.clone();
                if let Some(name) = name {
                    known.name = name;
                }
                if let Some(branch) = branch {
                    known.branch = branch;
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
                self.variables.retain(|(of, _), _| *of != Some(environment_id));
                Ok(vec![ProjectEnvironmentDeleted { environment_id, slug }])
            }
            _ => unreachable!("called with environments only"),
        }
    }

    fn obey_variable(&mut self, command: ProjectCommand) -> Answer<Self> {
        match command {
            SetEnvVar { key, .. } if ["PORT", "MASTRA_CLOUD_KEY"].contains(&key.as_str()) => {
                Err(ProjectError::ReservedEnvVar(key.to_string()))
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
