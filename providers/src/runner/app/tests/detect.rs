//! Which app is found, and with which commands.

use std::os::unix::fs::symlink;
use std::path::Path;

use domain::build::FailureCode;
use domain::ports::runner::BuildFailure;
use tempfile::TempDir;

use super::super::detect::{App, PackageManager, find};

const MASTRA: &str = r#"{"dependencies":{"@mastra/core":"1"},"devDependencies":{"mastra":"1"}}"#;

/// A checkout with these files; a name that ends in `/` is a directory.
fn checkout(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        if name.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    dir
}

fn at(checkout: &Path, root: &str) -> Result<App, BuildFailure> {
    find(checkout, &root.parse().unwrap(), &"src/mastra".parse().unwrap())
}

#[test]
fn the_package_manager_is_the_one_named_else_that_of_the_lock_file() {
    use PackageManager::{Bun, Npm, Pnpm, Yarn};
    let pinned = |text: &str| format!(r#"{{"scripts":{{"build":"x"}},"packageManager":"{text}"}}"#);
    let plain = r#"{"scripts":{"build":"x"}}"#.to_owned();
    type Case<'a> = (String, &'a [&'a str], PackageManager, Option<&'a str>, &'a str);
    let cases: [Case; 12] = [
        (plain.clone(), &[], Npm, None, "npm install --include=dev --no-audit --no-fund"),
        (plain.clone(), &["package-lock.json"], Npm, None, "npm ci --include=dev --no-audit --no-fund"),
        (plain.clone(), &["npm-shrinkwrap.json"], Npm, None, "npm ci --include=dev --no-audit --no-fund"),
        (plain.clone(), &["pnpm-lock.yaml"], Pnpm, None, "pnpm install --prod=false --frozen-lockfile"),
        (
            plain.clone(),
            &["pnpm-lock.yaml", "package-lock.json"],
            Pnpm,
            None,
            "pnpm install --prod=false --frozen-lockfile",
        ),
        (plain.clone(), &["bun.lock"], Bun, None, "bun install --frozen-lockfile"),
        (plain.clone(), &["bun.lockb"], Bun, None, "bun install --frozen-lockfile"),
        (
            plain.clone(),
            &["yarn.lock"],
            Yarn { berry: false },
            None,
            "yarn install --non-interactive --production=false --frozen-lockfile",
        ),
        (plain, &["yarn.lock", ".yarnrc.yml"], Yarn { berry: true }, None, "yarn install --immutable"),
        (
            pinned("yarn@4.9.1+sha512.aa"),
            &["yarn.lock"],
            Yarn { berry: true },
            Some("4.9.1"),
            "yarn install --immutable",
        ),
        (
            pinned("pnpm@10.18.0"),
            &["package-lock.json"],
            Pnpm,
            Some("10.18.0"),
            "pnpm install --prod=false --no-frozen-lockfile",
        ),
        (pinned("bun@1.3.0"), &["bun.lock"], Bun, Some("1.3.0"), "bun install --frozen-lockfile"),
    ];
    for (manifest, locks, manager, version, install) in cases {
        let mut files = vec![("package.json", manifest.as_str())];
        files.extend(locks.iter().map(|lock| (*lock, "")));
        let dir = checkout(&files);
        let app = at(dir.path(), ".").unwrap();
        assert_eq!(app.package_manager, manager, "{files:?}");
        assert_eq!(app.package_manager_version.as_deref(), version);
        assert_eq!(app.install.join(" "), install);
        assert_eq!(app.build, [manager.name(), "run", "build"]);
    }
}

#[test]
fn an_unknown_package_manager_is_refused_and_an_inexact_one_ignored() {
    let dir = checkout(&[("package.json", r#"{"scripts":{"build":"x"},"packageManager":"cargo@1.0.0"}"#)]);
    assert_eq!(at(dir.path(), ".").unwrap_err().code, FailureCode::ToolchainUnavailable);

    let files = [("package.json", r#"{"scripts":{"build":"x"},"packageManager":"pnpm@--prefix=/"}"#)];
    let app = at(checkout(&files).path(), ".").unwrap();
    assert_eq!((app.package_manager, app.package_manager_version), (PackageManager::Npm, None));
    assert!(app.warnings[0].contains("packageManager"), "{:?}", app.warnings);
}

#[test]
fn in_a_workspace_the_root_installs_and_the_app_builds() {
    for (root, extra) in [
        (r#"{"workspaces":["apps/*"]}"#, ("package-lock.json", "")),
        (r#"{"workspaces":{"packages":["apps/*"]}}"#, ("yarn.lock", "")),
        ("{}", ("pnpm-workspace.yaml", "packages: [apps/*]")),
    ] {
        let dir = checkout(&[("package.json", root), extra, ("apps/agent/package.json", MASTRA)]);
        let app = at(dir.path(), "apps/agent").unwrap();
        let real = dir.path().canonicalize().unwrap();
        assert_eq!((&app.install_root, &app.project_root), (&real, &real.join("apps/agent")), "{root}");
    }
}

#[test]
fn a_lock_file_above_that_covers_other_things_is_not_used() {
    let outer = checkout(&[
        ("package-lock.json", ""),
        ("package.json", r#"{"workspaces":["*"]}"#),
        ("checkout/package-lock.json", ""),
        ("checkout/package.json", "{}"),
        ("checkout/app/package.json", MASTRA),
    ]);
    let app = at(&outer.path().join("checkout"), "app").unwrap();
    assert_eq!(app.install_root, app.project_root);
    assert_eq!(app.install[1], "install");
    assert_eq!(
        app.warnings,
        [
            "package-lock.json in the repository's root does not cover this app, because there are no \
             workspaces there.",
            "There is no lock file for the package manager: two builds of one commit may differ."
        ]
    );
}

#[test]
fn mastra_is_called_itself_when_there_is_no_build_script() {
    let dir = checkout(&[("package.json", MASTRA), ("package-lock.json", "")]);
    let app = at(dir.path(), ".").unwrap();
    assert_eq!(app.build, ["npx", "--no-install", "mastra", "build"]);
    let elsewhere = find(dir.path(), &".".parse().unwrap(), &"lib/ai".parse().unwrap()).unwrap();
    assert_eq!(elsewhere.build, ["npx", "--no-install", "mastra", "build", "--dir", "lib/ai"]);
    assert_eq!(app.warnings, Vec::<String>::new());
}

#[test]
fn what_is_no_app_is_told_with_the_directories_that_hold_one() {
    let dir = checkout(&[
        ("package.json", "{}"),
        ("web/package.json", r#"{"dependencies":{"react":"1"}}"#),
        ("apps/agent/package.json", MASTRA),
        ("apps/other/package.json", r#"{"dependencies":{"@mastra/core":"1"}}"#),
        ("apps/other/src/mastra/", ""),
        ("node_modules/x/package.json", MASTRA),
        ("broken/package.json", "{,}"),
        ("list/package.json", "[]"),
        ("core/package.json", r#"{"dependencies":{"@mastra/core":"1"}}"#),
        ("empty/", ""),
    ]);
    let found =
        " Mastra apps were found in: `apps/agent`, `apps/other`. Set the project's root to one of them.";
    for (root, text) in [
        (".", format!("The repository's root holds no Mastra app and no `build` script.{found}")),
        ("web", format!("`web` holds no Mastra app and no `build` script.{found}")),
        ("empty", format!("There is no package.json in `empty`.{found}")),
        ("absent", format!("The repository has no directory `absent`.{found}")),
        ("list", "package.json in `list` cannot be read: it is not an object.".to_owned()),
    ] {
        let failure = at(dir.path(), root).unwrap_err();
        assert_eq!((failure.code, failure.message), (FailureCode::AppNotFound, text));
    }
    let broken = at(dir.path(), "broken").unwrap_err();
    assert!(broken.message.contains("line 1 column 2"), "{}", broken.message);
    let core = at(dir.path(), "core").unwrap_err();
    assert!(core.message.contains("`mastra` is not among its dependencies"), "{}", core.message);
}

#[test]
fn links_out_of_the_checkout_are_not_followed() {
    let outside = checkout(&[("package.json", MASTRA), (".nvmrc", "20")]);
    let dir = checkout(&[("app/package.json", MASTRA)]);
    symlink(outside.path(), dir.path().join("out")).unwrap();
    std::fs::create_dir(dir.path().join("file")).unwrap();
    symlink(outside.path().join("package.json"), dir.path().join("file/package.json")).unwrap();
    symlink(outside.path().join(".nvmrc"), dir.path().join("app/.nvmrc")).unwrap();
    for root in ["out", "file"] {
        assert_eq!(at(dir.path(), root).unwrap_err().code, FailureCode::AppNotFound, "{root}");
    }
    assert_eq!(at(dir.path(), "app").unwrap().node_range, None);
}

#[test]
fn the_node_range_comes_from_engines_then_nvmrc_then_node_version() {
    let engines = r#"{"scripts":{"build":"x"},"engines":{"node":">=22.13"}}"#;
    let plain = r#"{"scripts":{"build":"x"}}"#;
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, usize);
    let cases: [Case; 6] = [
        (&[("package.json", engines), (".nvmrc", "24")], Some(">=22.13"), 0),
        (&[("package.json", plain), (".nvmrc", "v24.1.0\n"), (".node-version", "22")], Some("v24.1.0"), 0),
        (&[("package.json", plain), (".node-version", "22.14.0\n")], Some("22.14.0"), 0),
        (&[("package.json", plain), (".nvmrc", "20")], Some("20"), 1),
        (&[("package.json", plain), (".nvmrc", "banana")], None, 1),
        (&[("package.json", plain)], None, 0),
    ];
    for (files, range, warnings) in cases {
        let mut files = files.to_vec();
        files.push(("package-lock.json", ""));
        let app = at(checkout(&files).path(), ".").unwrap();
        assert_eq!((app.node_range.as_deref(), app.warnings.len()), (range, warnings), "{files:?}");
    }
}
