//! Finds the app in a checkout: install root, package manager, commands.

use std::path::{Path, PathBuf};

use domain::build::{FailureCode, Phase};
use domain::ports::runner::BuildFailure;
use domain::values::RelativePath;
use walkdir::WalkDir;

use super::manifest::{self, Manifest, Reading};
use super::node_version;

/// Lock files in the order in which they decide about the package manager.
const LOCKS: [(&str, PackageManager); 6] = [
    ("pnpm-lock.yaml", PackageManager::Pnpm),
    ("bun.lock", PackageManager::Bun),
    ("bun.lockb", PackageManager::Bun),
    ("yarn.lock", PackageManager::Yarn { berry: false }),
    ("package-lock.json", PackageManager::Npm),
    ("npm-shrinkwrap.json", PackageManager::Npm),
];
/// Where other apps are looked for when the named directory holds none: levels down, and files at most.
const SEARCH: (usize, usize) = (5, 50_000);
/// How many of them are named.
const MAX_CANDIDATES: usize = 5;

/// Who installs the dependencies and runs the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// npm, also when nothing says otherwise.
    Npm,
    /// pnpm.
    Pnpm,
    /// Yarn 1 (classic), or Yarn 2 and later (`berry`).
    Yarn {
        /// Whether it is Yarn 2 or later.
        berry: bool,
    },
    /// bun, as a package manager; the app itself runs on Node.
    Bun,
}

/// An app that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Absolute directory where dependencies are installed: that of the lock file or the workspace.
    pub install_root: PathBuf,
    /// Absolute directory of the app's `package.json`.
    pub project_root: PathBuf,
    /// Who installs and builds.
    pub package_manager: PackageManager,
    /// The version that `packageManager` pins: `10.18.0`.
    pub package_manager_version: Option<String>,
    /// The range of Node versions the repository asks for, in npm's language.
    pub node_range: Option<String>,
    /// What the owner should know, in plain words.
    pub warnings: Vec<String>,
    /// Argument vector that installs, to be run in `install_root`.
    pub install: Vec<String>,
    /// Argument vector that builds, to be run in `project_root`; empty where that was done elsewhere.
    pub build: Vec<String>,
    /// Absolute directory of what Mastra builds.
    pub output: PathBuf,
}

/// Finds the app at `project_root` of the checkout. Nothing above or outside of the checkout is looked at;
/// the paths of the answer are canonical.
pub fn find(
    checkout: &Path,
    project_root: &RelativePath,
    mastra_directory: &RelativePath,
) -> Result<App, BuildFailure> {
    let checkout = checkout.canonicalize().map_err(|_| refusal("the checkout is gone".to_owned()))?;
    let project = checkout.join(project_root.as_str()).canonicalize().ok();
    let Some(project) = project.filter(|path| path.starts_with(&checkout) && path.is_dir()) else {
        let text = format!("The repository has no directory `{project_root}`.");
        return Err(refusal(text + &candidates(&checkout)));
    };
    let manifest = match Manifest::read(&checkout, &project) {
        Reading::Found(manifest) => manifest,
        Reading::Absent => {
            let text = format!("There is no package.json in {}.", named(project_root));
            return Err(refusal(text + &candidates(&checkout)));
        }
        Reading::Broken(why) => {
            return Err(refusal(format!("package.json in {} cannot be read: {why}.", named(project_root))));
        }
    };
    let has_source = inside(&checkout, &project.join(mastra_directory.as_str())).is_some_and(|p| p.is_dir());
    let is_mastra = has_source || manifest.depends_on("@mastra/core") || manifest.depends_on("mastra");
    let scripted = manifest.has_script("build");
    if !scripted && !is_mastra {
        let text = format!("{} holds no Mastra app and no `build` script.", capital(&named(project_root)));
        return Err(refusal(text + &candidates(&checkout)));
    }

    let mut warnings = Vec::new();
    let install_root = install_root(&checkout, &project, &mut warnings);
    let places = Places { checkout: &checkout, project: &project, install_root: &install_root };
    if !scripted && !places.manifests().any(|manifest| manifest.depends_on("mastra")) {
        return Err(refusal(format!(
            "{} has no `build` script, and `mastra` is not among its dependencies: add it to \
             `devDependencies` (`npm install --save-dev mastra`).",
            capital(&named(project_root))
        )));
    }
    let (package_manager, package_manager_version) = places.package_manager(&mut warnings)?;
    let node_range = places.node_range(&mut warnings);
    let locked = places.is_locked(package_manager, &mut warnings);
    Ok(App {
        install: install(package_manager, locked),
        build: build(package_manager, scripted, mastra_directory),
        output: project.join(".mastra/output"),
        install_root,
        project_root: project,
        package_manager,
        package_manager_version,
        node_range,
        warnings,
    })
}

/// The nearest directory upwards whose lock file or workspace covers the project; else the project's own.
fn install_root(checkout: &Path, project: &Path, warnings: &mut Vec<String>) -> PathBuf {
    for directory in project.ancestors().take_while(|directory| directory.starts_with(checkout)) {
        let lock = LOCKS.iter().find(|(name, _)| directory.join(name).is_file());
        let workspace = directory.join("pnpm-workspace.yaml").is_file()
            || Manifest::open(checkout, directory).is_some_and(|manifest| manifest.has_workspaces());
        match lock {
            Some(_) if directory == project || workspace => return directory.to_owned(),
            Some((name, _)) => warnings.push(format!(
                "{name} in {} does not cover this app, because there are no workspaces there.",
                shown(checkout, directory)
            )),
            None if workspace => return directory.to_owned(),
            None => {}
        }
    }
    project.to_owned()
}

/// The directories that say how the app is to be installed.
pub(super) struct Places<'a> {
    pub(super) checkout: &'a Path,
    pub(super) project: &'a Path,
    pub(super) install_root: &'a Path,
}

impl Places<'_> {
    /// From the project up to the install root.
    fn directories(&self) -> impl Iterator<Item = &Path> {
        self.project.ancestors().take_while(|directory| directory.starts_with(self.install_root))
    }

    fn manifests(&self) -> impl Iterator<Item = Manifest> {
        self.directories().filter_map(|directory| Manifest::open(self.checkout, directory))
    }

    fn has(&self, name: &str) -> bool {
        inside(self.checkout, &self.install_root.join(name)).is_some_and(|path| path.is_file())
    }

    pub(super) fn package_manager(
        &self,
        warnings: &mut Vec<String>,
    ) -> Result<(PackageManager, Option<String>), BuildFailure> {
        for manifest in self.manifests() {
            let Some((name, version)) = manifest.package_manager() else { continue };
            let Ok(parsed) = nodejs_semver::Version::parse(version) else {
                warnings
                    .push(format!("`packageManager` names no exact version (`{version}`): it is ignored."));
                continue;
            };
            let manager = match name {
                "npm" => PackageManager::Npm,
                "pnpm" => PackageManager::Pnpm,
                "yarn" => PackageManager::Yarn { berry: parsed.major() >= 2 },
                "bun" => PackageManager::Bun,
                other => {
                    return Err(BuildFailure {
                        code: FailureCode::ToolchainUnavailable,
                        ..refusal(format!(
                            "`packageManager` asks for `{other}`; npm, pnpm, yarn and bun are known."
                        ))
                    });
                }
            };
            return Ok((manager, Some(parsed.to_string())));
        }
        let by_lock = LOCKS.iter().find(|(name, _)| self.has(name)).map(|(_, manager)| *manager);
        Ok((
            match by_lock {
                Some(PackageManager::Yarn { .. }) => PackageManager::Yarn { berry: self.has(".yarnrc.yml") },
                Some(manager) => manager,
                None if self.has("pnpm-workspace.yaml") => PackageManager::Pnpm,
                None => PackageManager::Npm,
            },
            None,
        ))
    }

    pub(super) fn node_range(&self, warnings: &mut Vec<String>) -> Option<String> {
        let engines = self.manifests().filter_map(|m| Some(("engines.node", m.node()?.to_owned())));
        let files = [".nvmrc", ".node-version"].into_iter().flat_map(|name| {
            let first_line = move |text: String| Some((name, text.lines().next()?.trim().to_owned()));
            self.directories()
                .filter_map(move |directory| manifest::text(self.checkout, &directory.join(name)))
                .filter_map(first_line)
        });
        let mut found = None;
        for (place, text) in engines.chain(files) {
            match node_version::parse(&text) {
                Some(range) => {
                    if node_version::too_old(&range) {
                        warnings.push(format!(
                            "{place} asks for Node {text}, but Mastra needs {}: the app may fail while \
                             it runs.",
                            node_version::MINIMUM
                        ));
                    }
                    found = Some(text);
                    break;
                }
                None => warnings.push(format!("{place} is not a range of Node versions: it is ignored.")),
            }
        }
        found
    }

    /// Whether there is a lock file of this package manager.
    pub(super) fn is_locked(&self, manager: PackageManager, warnings: &mut Vec<String>) -> bool {
        let present: Vec<_> = LOCKS.iter().filter(|(name, _)| self.has(name)).collect();
        let same = |other: &PackageManager| std::mem::discriminant(other) == std::mem::discriminant(&manager);
        let locked = present.iter().any(|(_, of)| same(of));
        if !locked {
            warnings.push(
                "There is no lock file for the package manager: two builds of one commit may differ."
                    .to_owned(),
            );
        }
        let others: Vec<_> = present.iter().filter(|(_, of)| !same(of)).map(|(name, _)| *name).collect();
        if !others.is_empty() {
            let name = manager.name();
            warnings
                .push(format!("{name} installs; {} belongs to another and is ignored.", others.join(", ")));
        }
        locked
    }
}

impl PackageManager {
    /// Its command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn { .. } => "yarn",
            Self::Bun => "bun",
        }
    }
}

/// `mastra` is a development dependency, so those are always installed, whatever NODE_ENV is.
fn install(manager: PackageManager, locked: bool) -> Vec<String> {
    let words: &[&str] = match (manager, locked) {
        (PackageManager::Npm, true) => &["npm", "ci", "--include=dev", "--no-audit", "--no-fund"],
        (PackageManager::Npm, false) => &["npm", "install", "--include=dev", "--no-audit", "--no-fund"],
        (PackageManager::Pnpm, true) => &["pnpm", "install", "--prod=false", "--frozen-lockfile"],
        (PackageManager::Pnpm, false) => &["pnpm", "install", "--prod=false", "--no-frozen-lockfile"],
        (PackageManager::Yarn { berry: true }, true) => &["yarn", "install", "--immutable"],
        (PackageManager::Yarn { berry: true }, false) => &["yarn", "install", "--no-immutable"],
        (PackageManager::Yarn { berry: false }, true) => {
            &["yarn", "install", "--non-interactive", "--production=false", "--frozen-lockfile"]
        }
        (PackageManager::Yarn { berry: false }, false) => {
            &["yarn", "install", "--non-interactive", "--production=false"]
        }
        (PackageManager::Bun, true) => &["bun", "install", "--frozen-lockfile"],
        (PackageManager::Bun, false) => &["bun", "install"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn build(manager: PackageManager, scripted: bool, mastra_directory: &RelativePath) -> Vec<String> {
    let words: &[&str] = match (manager, scripted) {
        (_, true) => &[manager.name(), "run", "build"],
        (PackageManager::Npm, false) => &["npx", "--no-install", "mastra", "build"],
        (PackageManager::Pnpm, false) => &["pnpm", "exec", "mastra", "build"],
        (PackageManager::Yarn { .. }, false) => &["yarn", "run", "mastra", "build"],
        (PackageManager::Bun, false) => &["bun", "x", "--no-install", "mastra", "build"],
    };
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    if !scripted && mastra_directory.as_str() != "src/mastra" {
        words.extend(["--dir".to_owned(), mastra_directory.to_string()]);
    }
    words
}

/// A sentence that names the directories of the repository which hold Mastra apps.
fn candidates(checkout: &Path) -> String {
    let entries = WalkDir::new(checkout).max_depth(SEARCH.0).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name == "node_modules" || name.starts_with('.'))
    });
    let apps = entries
        .take(SEARCH.1)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file() && entry.file_name() == "package.json")
        .filter_map(|entry| Some(entry.path().parent()?.to_owned()))
        .filter(|directory| {
            Manifest::open(checkout, directory).is_some_and(|manifest| {
                let tooled = manifest.depends_on("mastra") || directory.join("src/mastra").is_dir();
                manifest.depends_on("@mastra/core") && tooled
            })
        });
    let names: Vec<String> = apps.take(MAX_CANDIDATES).map(|directory| shown(checkout, &directory)).collect();
    match names.is_empty() {
        true => " No Mastra app was found in the repository.".to_owned(),
        false => format!(
            " Mastra apps were found in: {}. Set the project's root to one of them.",
            names.join(", ")
        ),
    }
}

/// The path with every link followed, if that stays in the checkout.
fn inside(checkout: &Path, path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|path| path.starts_with(checkout))
}

fn shown(checkout: &Path, directory: &Path) -> String {
    match directory.strip_prefix(checkout) {
        Ok(path) if !path.as_os_str().is_empty() => format!("`{}`", path.display()),
        _ => "the repository's root".to_owned(),
    }
}

fn named(root: &RelativePath) -> String {
    match root.as_str() {
        "." => "the repository's root".to_owned(),
        path => format!("`{path}`"),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

pub(super) fn refusal(message: String) -> BuildFailure {
    BuildFailure { code: FailureCode::AppNotFound, phase: Phase::Installing, message, exit_code: None }
}
