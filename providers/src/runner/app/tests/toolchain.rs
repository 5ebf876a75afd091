//! Tools are installed once, whole, and by the machine's own npm; mostly a false npm that needs no network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use domain::build::FailureCode;
use tempfile::TempDir;

use super::super::detect::{App, PackageManager};
use super::super::toolchain::Toolchains;
use super::super::tools::System;

/// Stands for npm: notes the call and its variables, and writes a package whose command prints its version.
const FALSE_NPM: &str = r#"#!/bin/sh
case "$1" in --version) echo 11.0.0; exit;; esac
for last; do :; done
echo "$last" >> "$HERE/calls"
env > "$HERE/variables"
case "$last" in
    *@*99*) echo "npm error code ETARGET" >&2; exit 1;;
    fail*|*@*96*) echo "npm error network request to https://registry.test/x failed" >&2; exit 1;;
esac
package="${last%@*}"
case "$package" in
    node-*) name=node version=22.20.0;;
    @yarnpkg*) name=yarn version=4.9.1;;
    *) name="$package" version=10.18.0;;
esac
mkdir -p "node_modules/$package/bin" node_modules/.bin
echo "{\"version\":\"$version\"}" > "node_modules/$package/package.json"
printf '#!/bin/sh\necho %s\n' "$version" > "node_modules/$package/bin/$name"
chmod 755 "node_modules/$package/bin/$name"
ln -s "../$package/bin/$name" "node_modules/.bin/$name"
"#;

struct Machine {
    dir: TempDir,
}

impl Machine {
    /// A machine with Node 20 and an npm.
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        let here = machine.dir.path().display().to_string();
        // "node npm-cli.js …" runs the false npm, which is a script of the shell.
        let node = "#!/bin/sh\ncase \"$1\" in --version) echo v20.1.0; exit;; esac\nexec /bin/sh \"$@\"\n";
        machine.program("bin/node", node);
        machine.program("npm/bin/npm-cli.js", &FALSE_NPM.replace("$HERE", &here));
        machine.program("npm/bin/npx-cli.js", "");
        machine
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn toolchains(&self) -> Toolchains {
        let here = self.dir.path();
        let system = System { node: here.join("bin/node"), npm: here.join("npm/bin/npm-cli.js") };
        Toolchains::with_system(self.tools(), Some("https://registry.test".to_owned()), Some(system))
    }

    fn tools(&self) -> PathBuf {
        self.dir.path().join("tools")
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn app(package_manager: PackageManager, version: Option<&str>, node_range: Option<&str>) -> App {
    App {
        output: PathBuf::new(),
        install_root: "/".into(),
        project_root: "/".into(),
        package_manager,
        package_manager_version: version.map(str::to_owned),
        node_range: node_range.map(str::to_owned),
        warnings: vec![],
        install: vec![],
        build: vec![],
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_machines_own_node_is_used_when_it_fits() {
    let machine = Machine::new();
    let toolchain =
        machine.toolchains().prepare(&app(PackageManager::Npm, None, Some("20.x"))).await.unwrap();
    assert_eq!(toolchain.node_version, "20.1.0");
    assert_eq!(toolchain.bin_dirs, [machine.tools().join("system-npm"), machine.dir.path().join("bin")]);
    assert!(toolchain.read_only.contains(&machine.dir.path().join("npm")));
    let npm = fs::read_link(machine.tools().join("system-npm/npm")).unwrap();
    assert_eq!(npm, machine.dir.path().join("npm/bin/npm-cli.js"));
    assert_eq!(machine.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_missing_is_installed_once_however_many_ask() {
    let machine = Machine::new();
    let (one, other) = (machine.toolchains(), machine.toolchains()); // as two processes would
    let app = app(PackageManager::Pnpm, Some("10.18.0"), None);
    let (first, second, third) = tokio::join!(one.prepare(&app), one.prepare(&app), other.prepare(&app));

    let toolchain = first.unwrap();
    assert_eq!(toolchain.node_version, "22.20.0");
    assert_eq!(toolchain.bin_dirs.len(), 3);
    assert!(toolchain.bin_dirs[0].join("pnpm").is_file() && toolchain.bin_dirs[2].join("node").is_file());
    assert_eq!((second.unwrap(), third.unwrap()), (toolchain.clone(), toolchain));
    assert_eq!(machine.calls().len(), 2, "{:?}", machine.calls());
    assert!(machine.calls()[0].starts_with("node-linux-"), "{:?}", machine.calls());
    assert_eq!(machine.calls()[1], "pnpm@10.18.0");
    let node = one.node("22.20.0").await.unwrap();
    assert!(node.join("node").is_file());
    assert_eq!(machine.calls().len(), 2);
}

#[tokio::test]
async fn a_half_installed_or_damaged_tool_is_repaired() {
    let machine = Machine::new();
    let left = machine.tools().join(".new-node-abc/node_modules");
    fs::create_dir_all(left).unwrap();
    fs::create_dir_all(machine.tools().join("node-22.20.0/node_modules/.bin")).unwrap();

    machine.toolchains().node("22.20.0").await.unwrap();

    assert_eq!(names(&machine.tools()), [".lock-node", "node-22.20.0"]);
    assert_eq!(machine.calls().len(), 1);
}

#[tokio::test]
async fn npm_sees_the_registry_and_nothing_of_the_platform() {
    let machine = Machine::new();
    machine.toolchains().node("22.20.0").await.unwrap();
    let variables = fs::read_to_string(machine.dir.path().join("variables")).unwrap();
    assert!(variables.contains("npm_config_registry=https://registry.test\n"), "{variables}");
    let known = ["PATH=", "HOME=", "npm_config_", "NODE_EXTRA_CA_CERTS=", "PWD=", "_=", "SHLVL=", "OLDPWD="];
    let unknown = variables.lines().find(|line| !known.iter().any(|known| line.starts_with(known)));
    assert_eq!(unknown, None);
}

#[tokio::test]
async fn a_tool_that_cannot_be_had_is_told_in_plain_words() {
    let machine = Machine::new();
    let toolchains = machine.toolchains();
    let cases = [
        (app(PackageManager::Npm, None, Some("99")), "does not exist in the package registry"),
        (app(PackageManager::Npm, None, Some("96")), "network request to https://registry.test/x failed"),
        (
            app(PackageManager::Pnpm, Some("99.0.0"), None),
            "pnpm 99.0.0 does not exist in the package registry",
        ),
    ];
    for (app, text) in cases {
        let failure = toolchains.prepare(&app).await.unwrap_err();
        assert_eq!(failure.code, FailureCode::ToolchainUnavailable);
        assert!(failure.message.contains(text), "{}", failure.message);
    }
    assert!(!toolchains.node("99.0.0").await.unwrap_err().retry);
    assert!(toolchains.node("96.0.0").await.unwrap_err().retry);
    assert!(!toolchains.node("../x").await.unwrap_err().retry);

    let bare = Toolchains::with_system(machine.tools().join("bare"), None, None);
    let failure = bare.prepare(&app(PackageManager::Npm, None, None)).await.unwrap_err();
    let text = "Node.js with npm is not installed on the build host: its operator has to install it.";
    assert_eq!(failure.message, text);
}

#[tokio::test]
async fn a_real_package_manager_is_installed_by_the_real_npm() {
    let dir = tempfile::tempdir().unwrap();
    let toolchains = Toolchains::new(dir.path().to_owned(), None);
    let version = std::process::Command::new("node").arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap().trim().trim_start_matches('v').to_owned();
    let app = app(PackageManager::Yarn { berry: false }, Some("1.22.22"), Some(&version));

    let toolchain = toolchains.prepare(&app).await.unwrap();

    assert_eq!(toolchain.node_version, version);
    let path = std::env::join_paths(&toolchain.bin_dirs).unwrap();
    for (command, version) in [("yarn", Some("1.22.22\n")), ("npm", None), ("npx", None)] {
        let output = std::process::Command::new("/usr/bin/env")
            .args([command, "--version"])
            .env_clear()
            .env("PATH", &path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        if let Some(version) = version {
            assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
        }
    }
}
