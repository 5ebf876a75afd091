//! The comment below a pull request.

use domain::ids::ProjectId;
use domain::ports::git_host::Comment;
use domain::project::{Environment, PullRequest};
use projections::shown::{self, ShownComment};

use super::{Place, Sight, address, noted, page_of};
use crate::progress::{self, Stage};
use crate::{JobError, World};

impl Sight<'_> {
    /// Says below its pull request how far a preview is.
    pub(super) async fn comment(
        &self,
        world: &World,
        project_id: ProjectId,
        environment: &Environment,
    ) -> Result<(), JobError> {
        let Some(pull_request) = &environment.pull_request else { return Ok(()) };
        let text = self.told_of(world, project_id, environment, pull_request).await?;
        let (number, environment_id) = (pull_request.number, environment.id);
        let comment = ShownComment { project_id, number, environment_id, host_id: None, said: None };
        // Known before it is made, so that it says when its preview is gone whatever happens in between.
        shown::note_comment(&world.pool, &comment).await?;
        let known = shown::comments(&world.pool, project_id).await?;
        let known = known.into_iter().find(|it| it.number == number).unwrap_or(comment);
        self.say(world, known, text).await
    }

    /// Says below its pull request that a preview is gone.
    pub(super) async fn removed(&self, world: &World, place: Place) -> Result<(), JobError> {
        let here = |it: &ShownComment| place.environment_id.is_none_or(|id| id == it.environment_id);
        let comments = shown::comments(&world.pool, place.project_id).await?;
        for comment in comments.into_iter().filter(here) {
            let text = self.table("Removed", &[]);
            self.say(world, comment, text).await?;
        }
        Ok(())
    }

    async fn say(&self, world: &World, shown: ShownComment, text: String) -> Result<(), JobError> {
        if shown.said.as_ref() == Some(&text) {
            return Ok(());
        }
        let mark = format!("<!-- mastra-admin: the preview of project {} -->", shown.project_id);
        let comment = Comment { mark, text: text.clone() };
        let (number, known) = (shown.number, shown.host_id);
        let said = self.host.comment(self.installation, self.repository, number, &comment, known).await;
        match noted(said)? {
            Some(id) => {
                let shown = ShownComment { host_id: Some(id), said: Some(text), ..shown };
                Ok(shown::note_comment(&world.pool, &shown).await?)
            }
            None => Ok(()),
        }
    }

    async fn told_of(
        &self,
        world: &World,
        project_id: ProjectId,
        environment: &Environment,
        pull_request: &PullRequest,
    ) -> Result<String, JobError> {
        let mut rows = Vec::new();
        let mut state = match pull_request.is_waiting() {
            true => "Waits until somebody approves this commit".to_owned(),
            false => "Waiting to be built".to_owned(),
        };
        let mut commit = pull_request.head.to_string();
        let newest = projections::builds::newest(&world.pool, environment.id).await?;
        // What waits is what is to be looked at, whatever was built before.
        if let Some(build) = newest.filter(|_| !pull_request.is_waiting()) {
            let of_build = projections::deployments::newest_in(&world.pool, environment.id, build.id).await?;
            let (stage, words) = progress::of(&build, of_build.as_ref());
            state = match stage {
                Stage::Failed => format!("**{words}**"),
                _ => words,
            };
            commit = build.commit.clone().unwrap_or(commit);
            rows.push(("Build", page_of(world, build.id)));
        }
        let serves = projections::deployments::running_in(&world.pool, environment.id).await?;
        if let (Some(_), Some(address)) = (serves, address(world, project_id, environment).await?) {
            rows.insert(0, ("Address", address));
        }
        rows.insert(0, ("Commit", commit));
        Ok(self.table(&state, &rows))
    }

    /// Nothing in it was written by people but the slug, so nothing in it means anything to Markdown.
    fn table(&self, state: &str, rows: &[(&str, String)]) -> String {
        let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
        let slug = &self.settings.slug;
        format!("| Preview of `{slug}` | {state} |\n| --- | --- |\n{rows}")
    }
}
