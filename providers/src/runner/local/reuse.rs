//! What a build takes over of its environment's last one: the project's modules, and those of the output.
//!
//! Invariant: whatever goes wrong here, the build goes on as one that has nothing to take over.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use domain::build::Phase;
use domain::ports::artifacts::Artifact;
use domain::ports::logs::say;
use domain::ports::runner::{BuildFailure, BuildPlan};

use super::Inner;
use super::commands::Commands;
use super::modules::{Modules, Moment};
use super::unpacked::Tree;
use crate::runner::app::detect::App;
use crate::runner::app::explain;
use crate::runner::app::recipe::{self, Recipe, SKIP_INSTALL};
use crate::runner::app::toolchain::Toolchain;
use crate::runner::blocking;

/// What one build takes over and leaves.
pub(super) struct Reuse {
    /// What its modules are made of, if that is all there is to them.
    recipe: Option<Recipe>,
    /// Where the project has them.
    place: PathBuf,
    /// What the last build with these modules gave, if they are in place.
    last: Option<Artifact>,
    /// When they were as they are to be kept.
    whole: Option<Moment>,
    /// Where no command of the build comes.
    scratch: PathBuf,
    user: Option<u32>,
}

impl Reuse {
    /// Puts the kept modules in place, if they are those that an install would give. The checkout is its user's already,
    /// and nothing has run in it; it may fill `max_bytes` of the disk.
    pub(super) async fn begin(
        inner: &Inner,
        plan: &BuildPlan,
        (app, toolchain): (&App, &Toolchain),
        dir: &Path,
        max_bytes: u64,
    ) -> Self {
        let (source, scratch) = (dir.join("source"), dir.join("scratch"));
        let (place, user) = (app.install_root.join("node_modules"), inner.sandbox.user(plan.team_id));
        let (modules, environment, into) = (inner.modules.clone(), plan.environment_id, place.clone());
        let (plan, app, toolchain) = (plan.clone(), app.clone(), toolchain.clone());
        let found = blocking(move || {
            let recipe = Recipe::of(&plan, &source, &app, &toolchain, user);
            let last = modules.take(environment, recipe, &into);
            modules.make_room(max_bytes);
            Ok((recipe, last))
        });
        let (recipe, last) = found.await.unwrap_or_default();
        Self { recipe, place, last, whole: None, scratch, user }
    }

    /// Installs, unless the modules are in place.
    pub(super) async fn install(
        &mut self,
        commands: &Commands<'_>,
        argv: &[String],
    ) -> Result<(), BuildFailure> {
        if self.last.is_some() {
            let said = "Modules are those of the last build: the lockfile has not changed";
            say(&*commands.watch.output, said);
        } else {
            let root = &commands.app.install_root;
            commands.run(Phase::Installing, argv, root, &[], explain::explain_install).await?;
        }
        if self.recipe.is_some() {
            let (place, scratch) = (self.place.clone(), self.scratch.clone());
            self.whole = blocking(move || Moment::after(&place, &scratch)).await.ok();
        }
        Ok(())
    }

    /// Builds. The output gets the modules of the last one, if it asks for the same.
    pub(super) async fn build(
        &self,
        inner: &Inner,
        commands: &Commands<'_>,
        argv: &[String],
    ) -> Result<(), BuildFailure> {
        let root = &commands.app.project_root;
        let run = async |more: &[(&str, &str)]| {
            commands.run(Phase::Building, argv, root, more, explain::explain_build).await
        };
        let last = self.last.as_ref().and_then(|artifact| inner.unpacked.find(artifact, self.user));
        let Some(tree) = last.filter(|tree| tree.modules().is_some()) else { return run(&[]).await };
        run(&[(SKIP_INSTALL, "1")]).await?;
        let (output, scratch, user) = (commands.app.output.clone(), self.scratch.clone(), self.user);
        match blocking(move || furnish(&output, &tree, &scratch, user)).await {
            Ok(true) => {
                say(&*commands.watch.output, "The output's modules are those of the last build, too");
                Ok(())
            }
            Ok(false) | Err(_) => {
                say(
                    &*commands.watch.output,
                    "The output needs other modules than the last one: building with them",
                );
                run(&[]).await
            }
        }
    }

    /// Keeps the modules for the next build. This one was good, and all its processes are gone.
    pub(super) async fn leave(self, modules: &Modules, plan: &BuildPlan, artifact: &Artifact) {
        let (Some(recipe), Some(whole)) = (self.recipe, self.whole) else { return };
        let (modules, environment, artifact) = (modules.clone(), plan.environment_id, artifact.clone());
        let kept = blocking(move || {
            if !is_real(&self.place)? {
                return Ok(());
            }
            modules.keep(environment, recipe, artifact, (&self.place, whole))
        });
        if let Err(error) = kept.await {
            tracing::warn!(build.id = %plan.build_id, %error, "the modules of build {} were not kept", plan.build_id);
        }
    }
}

/// Gives an output without modules those of another one that asks for the same, with the lock that goes with them.
/// False if it asks for others.
fn furnish(output: &Path, last: &Tree, scratch: &Path, user: Option<u32>) -> io::Result<bool> {
    let modules = output.join("node_modules");
    if !is_real(&modules)? {
        return Ok(false);
    }
    if fs::symlink_metadata(&modules).is_ok() {
        return Ok(true); // its Mastra does not know how to leave them out
    }
    let manifest = |dir: &Path| recipe::file(&dir.join("package.json"));
    let (asked, last_lock) = (manifest(output)?, recipe::file(&last.dir().join("package-lock.json"))?);
    let lock = output.join("package-lock.json");
    let Some(content) = last_lock.filter(|_| fs::symlink_metadata(&lock).is_err()) else { return Ok(false) };
    if asked.is_none() || asked != manifest(last.dir())? {
        return Ok(false);
    }
    // Nobody writes to what is linked: servers see modules read-only, and no command of this build finds them there.
    let linked = scratch.join("modules");
    last.link_modules(&linked, user)?;
    let copy = scratch.join("package-lock.json");
    fs::write(&copy, content)?;
    lchown(&copy, user, user)?;
    fs::rename(&copy, &lock)?;
    // The last thing that can fail: a command that runs again finds nothing that is linked.
    fs::rename(&linked, &modules)?;
    Ok(true)
}

/// Whether the directory that `path` is in is where its name says, with no link on the way.
fn is_real(path: &Path) -> io::Result<bool> {
    let Some(parent) = path.parent() else { return Ok(false) };
    Ok(parent.canonicalize()? == parent)
}
