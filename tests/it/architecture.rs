//! Who may import whom, from the manifests and the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The crates of ours that each crate may import.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("domain", &[]),
    ("commands", &["domain"]),
    ("projections", &["domain"]),
    ("providers", &["domain"]),
    ("processes", &["commands", "domain", "projections"]),
    // Its program wires everything; that its library does not is checked below.
    ("api", &["commands", "domain", "processes", "projections", "providers"]),
    // It never sees commands; of providers it uses the stores of telemetry (ADR 0056).
    ("replay-tool", &["domain", "projections", "providers"]),
];

/// What the language of the product must not know.
const NOT_IN_DOMAIN: [&str; 6] = ["sqlx", "axum", "reqwest", "hyper", "getrandom", "bollard"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Direct dependencies of every crate, without those for tests.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn no_crate_imports_what_it_must_not() {
    let dependencies = dependencies();
    let ours: Vec<&String> = dependencies.keys().collect();
    for (name, allowed) in ALLOWED {
        for dependency in dependencies[name].iter().filter(|dependency| ours.contains(dependency)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not import {dependency}");
        }
    }
    for dependency in &dependencies["domain"] {
        assert!(!NOT_IN_DOMAIN.contains(&dependency.as_str()), "domain must not know {dependency}");
    }
}

#[test]
fn the_library_of_the_api_knows_neither_processes_nor_providers() {
    let api = root().join("api/src");
    for file in sources(&api) {
        let inside = file.strip_prefix(&api).unwrap();
        if inside.starts_with("program") || inside == Path::new("main.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for foreign in ["providers::", "processes::"] {
            // `auth::providers::` is a module of the API's own.
            let used = text.match_indices(foreign).any(|(at, _)| !text[..at].ends_with("::"));
            assert!(!used, "{} uses {foreign}", inside.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for name in ALLOWED.map(|(name, _)| name) {
        for file in sources(&root().join(name).join("src")) {
            let inside_tests = file.components().any(|part| part.as_os_str() == "tests")
                || file.file_name().is_some_and(|name| name == "tests.rs");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(inside_tests || text.starts_with("//!"), "{} has no first line", file.display());
        }
    }
}

/// Whoever prepares `SELECT *` fails as soon as a swap brings a table of another shape: "cached plan must not change
/// result type". With columns by name it goes on.
#[test]
fn no_statement_asks_for_all_columns_there_may_be() {
    let migrations = std::fs::read_dir(root().join("migrations/postgres")).unwrap();
    let mut files: Vec<PathBuf> = migrations.map(|entry| entry.unwrap().path()).collect();
    // In its function the row is of the table's own type; and what was released is not edited.
    files.retain(|path| !path.ends_with("0001_log.sql"));
    files.extend(ALLOWED.iter().flat_map(|(name, _)| sources(&root().join(name).join("src"))));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap().to_lowercase();
        let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_matches(['"', '('])).collect();
        for pair in words.windows(2) {
            let asks = matches!(pair[0], "select" | "returning" | "distinct" | "all");
            let what = pair[1].trim_end_matches([',', ';', ')', '"']);
            let is_all = what == "*" || what.ends_with(".*");
            assert!(!(asks && is_all), "{} has {} {}", file.display(), pair[0], pair[1]);
        }
    }
}

#[test]
fn nothing_that_the_server_runs_is_a_shell() {
    for name in ALLOWED.map(|(name, _)| name) {
        for file in sources(&root().join(name).join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            let is_test = file.to_string_lossy().contains("tests");
            for shell in ["Command::new(\"sh\")", "Command::new(\"bash\")", "Command::new(\"/bin/sh\")"] {
                assert!(is_test || !text.contains(shell), "{} starts a shell", file.display());
            }
        }
    }
}

#[test]
fn read_models_know_neither_clock_nor_chance() {
    let folder = root().join("projections/src");
    let modules = projections::read_models().into_iter().map(|model| model.name()).chain(["rows", "model"]);
    for module in modules {
        let file = folder.join(module).with_extension("rs");
        let files = if file.exists() { vec![file] } else { sources(&folder.join(module)) };
        assert!(!files.is_empty(), "{module} is a module");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap().to_lowercase();
            for forbidden in [
                "now()",
                "now_v7",
                "new_v4",
                "systemtime",
                "instant",
                "clock_",
                "current_",
                "random",
                "local",
            ] {
                // What the documentation says of it does no harm.
                let used =
                    text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(forbidden));
                assert!(!used, "{} uses {forbidden}", file.display());
            }
        }
    }
}
