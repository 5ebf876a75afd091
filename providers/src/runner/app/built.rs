//! Finds the app in what was built on another machine.

use std::path::Path;

use domain::build::FailureCode;
use domain::ports::runner::BuildFailure;

use super::detect::{App, PackageManager, Places, refusal};
use super::manifest::{Manifest, Reading};

/// Finds what `mastra build` wrote on another machine: in `output`, or in `.mastra/output`. Only its modules are
/// missing; they are installed as `mastra build` does it: by the lock as far as there is one.
pub fn find(upload: &Path) -> Result<App, BuildFailure> {
    let upload = upload.canonicalize().map_err(|_| unbuilt("it is gone"))?;
    let places = ["output", ".mastra/output"].map(|place| upload.join(place));
    let Some(output) = places.into_iter().find(|place| place.join("index.mjs").is_file()) else {
        return Err(unbuilt("it has no `output/index.mjs`, which `mastra build` writes"));
    };
    match Manifest::read(&upload, &output) {
        Reading::Found(_) => {}
        Reading::Absent => {
            return Err(unbuilt("it has no `output/package.json`, which `mastra build` writes"));
        }
        Reading::Broken(why) => return Err(unbuilt(&format!("`output/package.json` cannot be read: {why}"))),
    }
    let mut warnings = Vec::new();
    let places = Places { checkout: &upload, project: &output, install_root: &output };
    let (package_manager, package_manager_version) = places.package_manager(&mut warnings)?;
    let node_range = places.node_range(&mut warnings);
    places.is_locked(package_manager, &mut warnings);
    Ok(App {
        install: install_modules(package_manager),
        build: vec![],
        install_root: output.clone(),
        project_root: output.clone(),
        output,
        package_manager,
        package_manager_version,
        node_range,
        warnings,
    })
}

fn unbuilt(why: &str) -> BuildFailure {
    let code = FailureCode::UploadRefused;
    BuildFailure { code, ..refusal(format!("What was uploaded cannot be run: {why}.")) }
}

/// The modules of a server. The lock may have been written on a machine of another kind, and lack what only this one
/// needs: so it may be added to.
fn install_modules(manager: PackageManager) -> Vec<String> {
    let words: &[&str] = match manager {
        PackageManager::Npm => &["npm", "install", "--omit=dev", "--no-audit", "--no-fund"],
        PackageManager::Pnpm => &["pnpm", "install", "--prod", "--no-frozen-lockfile"],
        PackageManager::Yarn { berry: true } => &["yarn", "install", "--no-immutable"],
        PackageManager::Yarn { berry: false } => &["yarn", "install", "--non-interactive", "--production"],
        PackageManager::Bun => &["bun", "install", "--production", "--no-save"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}
