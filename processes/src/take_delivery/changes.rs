//! What became of installations and repositories at the host.

use commands::{Context, Expected};
use domain::ports::git_host::{HostError, InstallationChange, RepositoryChange};
use domain::project::{ProjectCommand, ProjectSettings};
use domain::push::Nothing;
use domain::team::{InstallationStatus, TeamCommand};
use projections::inbox::Outcome;

use super::{Desk, carried_out};
use crate::JobError;

impl Desk<'_> {
    pub(super) async fn installation(
        &self,
        id: i64,
        told: InstallationChange,
    ) -> Result<Vec<Outcome>, JobError> {
        let change = self.change_by_now(id, told).await?;
        let rows = projections::teams::installations_at(&self.world.pool, id).await?;
        let mut outcomes = Vec::new();
        for row in rows {
            let installation_id = row.id;
            let status = |status| TeamCommand::ChangeInstallationStatus { installation_id, status };
            let (command, is_so, reason, detail) = match change {
                InstallationChange::Active => (
                    status(InstallationStatus::Active),
                    row.status == InstallationStatus::Active,
                    "installation_active",
                    "The installation works.",
                ),
                InstallationChange::Suspended => (
                    status(InstallationStatus::Suspended),
                    row.status == InstallationStatus::Suspended,
                    "installation_suspended",
                    "The installation was suspended: nothing of it is built until it works again.",
                ),
                InstallationChange::Removed => (
                    TeamCommand::RemoveInstallation { installation_id },
                    false,
                    "installation_removed",
                    "The App was uninstalled: what was chosen through it is not built any more.",
                ),
            };
            let nothing = |why| Outcome::nothing(Some(row.team_id), why);
            if is_so {
                outcomes.push(nothing(Nothing::NoChange));
                continue;
            }
            let context = self.context(row.team_id).once(&format!("installation/{installation_id}"));
            outcomes.push(
                match carried_out(self.world.commands.team(row.team_id, command, &context).await)? {
                    Ok(_) => Outcome::acted(row.team_id, reason, detail),
                    Err(why) => nothing(Nothing::NoChange).saying(why),
                },
            );
        }
        if outcomes.is_empty() {
            outcomes.push(Outcome::nothing(None, Nothing::InstallationNotConnected));
        }
        Ok(outcomes)
    }

    /// What an installation is by the host's present word: deliveries come late and in any order.
    async fn change_by_now(&self, id: i64, told: InstallationChange) -> Result<InstallationChange, JobError> {
        let Some(host) = self.world.host(&self.delivery.source) else { return Ok(told) };
        match host.installation_now(id).await {
            Ok(None) => Ok(InstallationChange::Removed),
            Ok(Some(now)) if now.is_suspended => Ok(InstallationChange::Suspended),
            Ok(Some(_)) => Ok(InstallationChange::Active),
            // There is nobody to ask as.
            Err(HostError::NotConfigured) => Ok(told),
            Err(error) => Err(JobError::Retry(error.to_string())),
        }
    }

    pub(super) async fn repository(
        &self,
        id: i64,
        change: RepositoryChange,
    ) -> Result<Vec<Outcome>, JobError> {
        let projects = projections::projects::of_repository(&self.world.pool, id).await?;
        let mut outcomes = Vec::new();
        for project in projects {
            let nothing = |why| Outcome::nothing(Some(project.team_id), why).of(project.id);
            let url = match &change {
                RepositoryChange::Moved(url) if project.settings.repo_url.as_ref() != Some(url) => {
                    url.clone()
                }
                RepositoryChange::Moved(_) => {
                    outcomes.push(nothing(Nothing::NoChange));
                    continue;
                }
                RepositoryChange::Deleted => {
                    outcomes.push(nothing(Nothing::RepositoryDeleted));
                    continue;
                }
                RepositoryChange::Other => {
                    outcomes.push(nothing(Nothing::NotOfInterest));
                    continue;
                }
            };
            let detail = format!("The repository is at {url} now; the project follows it there.");
            let settings = Box::new(ProjectSettings { repo_url: Some(url), ..project.settings.clone() });
            let command = ProjectCommand::ChangeProjectSettings { settings };
            // Decided on what was read: somebody else's change in between must not be undone.
            let expected = Expected::Exactly(project.version);
            let context =
                Context { expected, ..self.context(project.team_id).once(&format!("move/{}", project.id)) };
            outcomes.push(
                match carried_out(self.world.commands.project(project.id, command, &context).await)? {
                    Ok(_) => Outcome::acted(project.team_id, "repository_moved", detail).of(project.id),
                    Err(why) => nothing(Nothing::Failed).saying(why),
                },
            );
        }
        if outcomes.is_empty() {
            return self.for_teams(Nothing::RepositoryNotConnected).await;
        }
        Ok(outcomes)
    }
}
