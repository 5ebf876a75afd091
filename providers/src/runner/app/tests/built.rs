use std::fs;

use domain::build::FailureCode;

use super::super::built::find;
use super::super::detect::PackageManager;

fn upload(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

#[test]
fn the_output_is_installed_as_its_lock_says_and_not_built() {
    let manifest = r#"{ "name": "server", "engines": { "node": ">=22.13.0" } }"#;
    for (place, lock, manager, install) in [
        ("output", "package-lock.json", PackageManager::Npm, "npm install --omit=dev"),
        ("output", "pnpm-lock.yaml", PackageManager::Pnpm, "pnpm install --prod"),
        (".mastra/output", "bun.lock", PackageManager::Bun, "bun install --production"),
    ] {
        let files = ["index.mjs", "package.json", lock].map(|name| format!("{place}/{name}"));
        let dir = upload(&[(&files[0], ""), (&files[1], manifest), (&files[2], "")]);
        let app = find(dir.path()).unwrap();
        assert_eq!(app.package_manager, manager);
        assert!(app.install.join(" ").starts_with(install), "{:?}", app.install);
        assert_eq!(app.build, Vec::<String>::new());
        assert_eq!(app.node_range.as_deref(), Some(">=22.13.0"));
        let output = dir.path().canonicalize().unwrap().join(place);
        assert_eq!((&app.output, &app.install_root, &app.project_root), (&output, &output, &output));
    }
}

#[test]
fn what_is_no_output_of_mastra_is_told_so() {
    for (files, words) in [
        (&[("readme.md", "")][..], "index.mjs"),
        (&[("output/index.mjs", "")], "package.json"),
        (&[("output/index.mjs", ""), ("output/package.json", "{")], "cannot be read"),
        (&[("index.mjs", ""), ("package.json", "{}")], "index.mjs"),
    ] {
        let failure = find(upload(files).path()).unwrap_err();
        assert_eq!(failure.code, FailureCode::UploadRefused);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}
