//! Git repositories made of fixtures.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a repository with one commit on `main` of a fixture: `tiny`, `single`, `monorepo`, or a variant.
pub fn create(fixture: &str, path: &Path) {
    std::fs::create_dir_all(path).expect("it can be made");
    lay(path, fixture);
    git(path, &["init", "-q", "-b", "main"]);
    commit(path, &format!("fixture {fixture}"));
}

/// Puts the files of a fixture into a directory that is no repository.
pub fn lay(path: &Path, fixture: &str) {
    for layer in layers(fixture) {
        copy(&layer, path);
    }
}

/// Writes files into a repository and commits them; answers the commit.
pub fn change(path: &Path, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        std::fs::write(path.join(name), text).expect("it can be written");
    }
    commit(path, "change")
}

/// Puts the files of a fixture back, without a commit.
pub fn restore(path: &Path, fixture: &str) {
    lay(path, fixture);
}

/// Lays a variant of `single` over a repository of it and commits that; answers the commit.
pub fn overlay(path: &Path, variant: &str) -> String {
    restore(path, variant);
    commit(path, variant)
}

/// Commits everything; answers the commit.
fn commit(path: &Path, message: &str) -> String {
    git(path, &["add", "-A"]);
    git(
        path,
        &["-c", "user.name=fixture", "-c", "user.email=fixture@example.invalid", "commit", "-qm", message],
    );
    git(path, &["rev-parse", "HEAD"]).trim().to_owned()
}

fn git(path: &Path, args: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(path).args(args).output().expect("git is installed");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn layers(fixture: &str) -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    match fixture {
        "tiny" => vec![fixtures.join("tiny")],
        "single" | "monorepo" => vec![fixtures.join("mastra").join(fixture)],
        variant => {
            let layer = fixtures.join("mastra/variants").join(variant);
            assert!(layer.is_dir(), "no fixture {variant}");
            vec![fixtures.join("mastra/single"), layer]
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("it is a directory") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            std::fs::create_dir_all(&target).expect("it can be made");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("it can be copied");
        }
    }
}
