//! When two builds have the same modules, and when nobody can tell.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use domain::ids::{BuildId, EnvironmentId, EventId, ProjectId, TeamId};
use domain::ports::artifacts::Artifact;
use domain::ports::git::{Access, Repository};
use domain::ports::runner::{BuildPlan, Cause, Code};
use domain::secret::Secret;
use domain::values::Resources;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::super::detect::{self, App};
use super::super::recipe::Recipe;
use super::super::toolchain::Toolchain;

/// An app that has a recipe, to be spoiled.
struct Case {
    checkout: TempDir,
    plan: BuildPlan,
    toolchain: Toolchain,
    user: Option<u32>,
}

impl Case {
    fn new() -> Self {
        let checkout = tempfile::tempdir().unwrap();
        let case = Self { checkout, plan: plan(), toolchain: toolchain(), user: Some(210_001) };
        case.write("app/package.json", &manifest().to_string());
        case.write("app/package-lock.json", &lock().to_string());
        case.write("app/.npmrc", "engine-strict=true\n");
        case
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.checkout.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn recipe(&self) -> Option<Recipe> {
        Recipe::of(&self.plan, self.checkout.path(), &self.app(), &self.toolchain, self.user)
    }

    fn app(&self) -> App {
        let (root, mastra) = ("app".parse().unwrap(), "src/mastra".parse().unwrap());
        detect::find(self.checkout.path(), &root, &mastra).unwrap()
    }
}

fn manifest() -> Value {
    json!({
        "scripts": { "build": "mastra build --dir src/mastra --studio", "start": "node x && y" },
        "dependencies": { "@mastra/core": "1" }, "devDependencies": { "mastra": "1" },
    })
}

fn lock() -> Value {
    json!({ "lockfileVersion": 3, "packages": {
        "": { "dependencies": { "@mastra/core": "1" } },
        "node_modules/mastra": { "version": "1.0.0", "integrity": "sha512-a" },
        "node_modules/a/node_modules/b": { "resolved": "https://registry.test/b.tgz", "integrity": "sha512-b" },
        "node_modules/a/node_modules/c": { "inBundle": true },
        "node_modules/esbuild": { "integrity": "sha512-e", "hasInstallScript": true },
    }})
}

fn plan() -> BuildPlan {
    BuildPlan {
        build_id: BuildId(Uuid::from_u128(1)),
        project_id: ProjectId(Uuid::from_u128(2)),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        team_id: TeamId(Uuid::from_u128(4)),
        cause: Cause { event: EventId(Uuid::from_u128(5)), fence: 1 },
        code: Code::Commit {
            repository: Repository { url: "https://git.test/app".parse().unwrap(), access: Access::Open },
            commit: "0123456789012345678901234567890123456789".parse().unwrap(),
        },
        project_root: "app".parse().unwrap(),
        mastra_directory: "src/mastra".parse().unwrap(),
        install_command: None,
        build_command: None,
        env: vec![var("TOKEN", "one"), var("OTHER", "two")],
        limits: Resources::default(),
    }
}

fn var(key: &str, value: &str) -> (domain::values::EnvKey, Secret) {
    (key.parse().unwrap(), Secret::new(value))
}

fn toolchain() -> Toolchain {
    Toolchain {
        node_version: "22.23.3".to_owned(),
        bin_dirs: vec!["/tools/npm/11.19.1".into()],
        read_only: vec![],
        env: vec![("npm_config_registry".to_owned(), "https://registry.test".to_owned())],
    }
}

#[test]
fn what_an_install_sees_is_in_the_recipe_and_nothing_else_is() {
    let usual = Case::new().recipe();
    assert!(usual.is_some());
    type Change = fn(&mut Case);
    let others: [(&str, Change); 11] = [
        ("lock", |case| {
            let mut changed = lock();
            changed["packages"]["node_modules/mastra"]["integrity"] = json!("sha512-x");
            case.write("app/package-lock.json", &changed.to_string());
        }),
        ("a byte of the lock", |case| case.write("app/package-lock.json", &format!("{}\n", lock()))),
        ("manifest", |case| case.write("app/package.json", &format!("{} ", manifest()))),
        ("settings", |case| case.write("app/.npmrc", "")),
        ("no settings", |case| fs::remove_file(case.checkout.path().join("app/.npmrc")).unwrap()),
        ("Node", |case| case.toolchain.node_version = "22.23.4".to_owned()),
        ("npm", |case| case.toolchain.bin_dirs = vec!["/tools/npm/11.20.0".into()]),
        ("registry", |case| case.toolchain.env[0].1.push('x')),
        ("value", |case| case.plan.env[0] = var("TOKEN", "onf")),
        ("one variable less", |case| case.plan.env.truncate(1)),
        ("user", |case| case.user = Some(210_002)),
    ];
    for (what, change) in others {
        let mut case = Case::new();
        change(&mut case);
        let other = case.recipe();
        assert!(other.is_some() && other != usual, "{what}");
    }
    let same: [(&str, Change); 4] = [
        ("source", |case| case.write("app/src/mastra/index.ts", "1")),
        ("order of variables", |case| case.plan.env.reverse()),
        ("build", |case| case.plan.build_id = BuildId(Uuid::from_u128(9))),
        ("commit", |case| {
            let Code::Commit { commit, .. } = &mut case.plan.code else { unreachable!() };
            *commit = "9876543210987654321098765432109876543210".parse().unwrap();
        }),
    ];
    for (what, change) in same {
        let mut case = Case::new();
        change(&mut case);
        assert!(case.recipe() == usual, "{what}");
    }
}

#[test]
fn what_has_more_to_say_has_no_recipe() {
    type Change = fn(&mut Case);
    let cases: [(&str, Change); 17] = [
        ("an install command of its own", |case| case.plan.install_command = Some("npm ci".parse().unwrap())),
        ("a build command of its own", |case| {
            case.plan.build_command = Some("mastra build".parse().unwrap())
        }),
        ("an upload", |case| case.plan.code = Code::Upload(Artifact { sha256: "0".repeat(64), bytes: 1 })),
        ("the way out", |case| case.plan.env.push(var("MASTRA_ADMIN_NO_MODULE_CACHE", "1"))),
        ("no install of the output", |case| case.plan.env.push(var("MASTRA_BUILD_SKIP_INSTALL", "0"))),
        ("no lock", |case| fs::remove_file(case.checkout.path().join("app/package-lock.json")).unwrap()),
        ("a lock that is a link", |case| {
            let (app, moved) = (case.checkout.path().join("app"), case.checkout.path().join("moved"));
            fs::rename(app.join("package-lock.json"), &moved).unwrap();
            symlink("../moved", app.join("package-lock.json")).unwrap();
        }),
        ("settings that are a link", |case| {
            let path = case.checkout.path().join("app/.npmrc");
            fs::remove_file(&path).unwrap();
            symlink("/etc/hostname", path).unwrap();
        }),
        ("pnpm", |case| case.write("app/pnpm-lock.yaml", "")),
        ("two locks", |case| {
            let mut pinned = manifest();
            pinned["packageManager"] = json!("npm@11.19.1");
            case.write("app/package.json", &pinned.to_string());
            case.write("app/yarn.lock", "");
        }),
        ("a lock that npm prefers", |case| case.write("app/npm-shrinkwrap.json", &lock().to_string())),
        ("what npm builds by itself", |case| case.write("app/binding.gyp", "{}")),
        ("a package above", |case| case.write("package.json", "{}")),
        ("a lock above", |case| case.write("pnpm-lock.yaml", "")),
        ("settings above", |case| case.write(".npmrc", "")),
        ("a lock that is none", |case| case.write("app/package-lock.json", "{")),
        ("a lock of npm 6", |case| case.write("app/package-lock.json", r#"{"lockfileVersion":1}"#)),
    ];
    for (what, change) in cases {
        let mut case = Case::new();
        change(&mut case);
        assert!(case.recipe().is_none(), "{what}");
    }
}

#[test]
fn a_manifest_with_scripts_or_workspaces_has_no_recipe() {
    let with = |change: &dyn Fn(&mut Value)| {
        let case = Case::new();
        let mut changed = manifest();
        change(&mut changed);
        case.write("app/package.json", &changed.to_string());
        case.recipe().is_some()
    };
    for name in ["preinstall", "install", "postinstall", "prepare", "prebuild", "postbuild", "dependencies"] {
        assert!(!with(&|manifest| manifest["scripts"][name] = json!("node x.js")), "{name}");
    }
    assert!(!with(&|manifest| manifest["workspaces"] = json!(["packages/*"])));
    let builds = [
        ("mastra build", true),
        ("  mastra   build --dir=src/mastra ", true),
        ("mastra build --root ..", false),
        ("mastra build && node patch.js", false),
        ("mastra build; x", false),
        ("mastra build | tee log", false),
        ("mastra build $(x)", false),
        ("mastra build > log", false),
        ("X=1 mastra build", false),
        ("mastra lint", false),
        ("mastra", false),
        ("node build.js", false),
    ];
    for (build, has_recipe) in builds {
        assert_eq!(with(&|manifest| manifest["scripts"]["build"] = json!(build)), has_recipe, "{build}");
    }
}

#[test]
fn a_lock_that_leaves_something_open_has_no_recipe() {
    let with = |place: &str, package: Value| {
        let case = Case::new();
        let mut changed = lock();
        changed["packages"][place] = package;
        case.write("app/package-lock.json", &changed.to_string());
        case.recipe().is_some()
    };
    let hash = "sha512-a";
    assert!(with("node_modules/d", json!({ "integrity": hash })));
    assert!(with(
        "node_modules/sharper",
        json!({ "name": "sharp", "integrity": hash, "hasInstallScript": true })
    ));
    let open = [
        ("node_modules/d", json!({})),
        ("node_modules/d", json!({ "integrity": hash, "hasInstallScript": true })),
        ("node_modules/esbuild", json!({ "name": "other", "integrity": hash, "hasInstallScript": true })),
        ("node_modules/d", json!({ "integrity": hash, "resolved": "file:../d.tgz" })),
        ("node_modules/d", json!({ "integrity": hash, "resolved": "git+ssh://git@host.test/d.git#abc" })),
        ("node_modules/d", json!({ "resolved": "packages/d", "link": true })),
        ("packages/d", json!({ "integrity": hash })),
        ("../d/node_modules/e", json!({ "integrity": hash })),
    ];
    for (place, package) in open {
        assert!(!with(place, package.clone()), "{place} {package}");
    }
}

#[test]
fn a_checkout_that_is_gone_has_no_recipe() {
    let case = Case::new();
    let app = case.app();
    let gone = Path::new("/nowhere/at/all");
    assert!(Recipe::of(&case.plan, gone, &app, &case.toolchain, None).is_none());
}
