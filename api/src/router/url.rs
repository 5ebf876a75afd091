//! Where an environment is reached.

use domain::ids::ProjectId;
use domain::ports::traffic::Traffic;
use projections::past::View;

use crate::error::ApiError;
use crate::platform::Platform;

/// A project's place in addresses. One that is not there has none.
pub(crate) struct Place<'a> {
    platform: &'a Platform,
    slugs: Option<(String, String)>,
}

impl<'a> Place<'a> {
    /// The place of a project, as of when the caller asks about.
    pub(crate) async fn of(
        platform: &'a Platform,
        view: &View,
        project: ProjectId,
    ) -> Result<Self, ApiError> {
        Ok(Self { platform, slugs: projections::projects::slugs(view, project).await? })
    }

    /// The address of its environment with this slug, without a slash at the end.
    pub(crate) fn url(&self, environment: &str) -> Option<String> {
        let (team, project) = self.slugs.as_ref()?;
        let base = &self.platform.settings.public_url;
        Some(self.platform.router.address(base, (team, project, environment)))
    }
}
