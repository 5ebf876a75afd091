//! What opens the repository of a project.

use domain::ids::{ProjectId, TeamId};
use domain::ports::git::{Access, GitError, KeyPair, Repository};
use domain::ports::git_host::HostError;
use domain::project::ProjectSettings;
use domain::sealed::purpose;
use domain::team::InstallationStatus;
use domain::values::{BranchName, CommitSha, RepoUrl};
use projections::teams::InstallationRow;

use crate::{JobError, World};

/// The git host of installations; there is one.
pub(crate) const HOST: &str = "github";

/// The name that goes with a token of an installation.
const INSTALLATION: &str = "x-access-token";

/// Why a repository is not opened.
#[derive(Debug)]
pub(crate) enum Closed {
    /// For who owns the project.
    Git(GitError),
    /// It may work later.
    Job(JobError),
}

/// The repository of a project, with what opens it: the installation of its team that it was chosen through, or what
/// was set for the project itself.
pub(crate) async fn open(
    world: &World,
    (project, team): (ProjectId, TeamId),
    settings: &ProjectSettings,
) -> Result<Repository, Closed> {
    let Some(url) = settings.repo_url.clone() else {
        return Err(Closed::Git(GitError::NoAccess("the project has no repository".to_owned())));
    };
    let (Some(_), Some(repository)) = (settings.installation_id, settings.repository_id) else {
        let access = own_access(world, project, &url).await.map_err(Closed::Job)?;
        return Ok(Repository { url, access });
    };
    let refused = |why: &str| Closed::Git(GitError::NoAccess(why.to_owned()));
    let installation = active(world, team, settings).await.map_err(Closed::Job)?;
    let installation =
        installation.ok_or_else(|| refused("the project's GitHub installation is suspended or removed"))?;
    let host = world.host(HOST).ok_or_else(|| refused("the platform is not connected to GitHub any more"))?;
    match host.token(installation.github_id, repository).await {
        Ok(token) => {
            Ok(Repository { url, access: Access::Token { username: INSTALLATION.to_owned(), token } })
        }
        Err(HostError::Unavailable { why, .. }) => Err(Closed::Git(GitError::Unreachable(why))),
        Err(error) => Err(refused(&error.to_string())),
    }
}

/// What was set for the project itself. It is for one host: the address may have changed since, and who changed it need
/// not be who knows the secret.
async fn own_access(world: &World, project: ProjectId, url: &RepoUrl) -> Result<Access, JobError> {
    let Some(host) = url.host() else { return Ok(Access::Open) };
    let row = projections::repository_access::of_project(&world.pool, project).await?;
    let vault = world.commands.vault();
    if url.ssh().is_none() {
        let is_for = row.token_host.as_deref() == Some(&host);
        let (Some(username), Some(sealed)) = (row.token_username, row.token.filter(|_| is_for)) else {
            return Ok(Access::Open);
        };
        let token = vault.open_sealed(&sealed, &purpose::repository_token(&host)).await?;
        return Ok(Access::Token { username, token });
    }
    let old_works = row.old_key_until.is_some_and(|until| (world.now)() < until);
    let old = (row.old_key_public, row.old_key_secret);
    let mut keys = Vec::new();
    for pair in [(row.key_public, row.key_secret), if old_works { old } else { (None, None) }] {
        let (Some(public), Some(sealed)) = pair else { continue };
        let secret = vault.open_sealed(&sealed, purpose::DEPLOY_KEY).await?;
        let public = public.parse().map_err(|_| JobError::Never("the deploy key is none".to_owned()))?;
        keys.push(KeyPair { public, secret });
    }
    if keys.is_empty() {
        return Ok(Access::Open);
    }
    let is_known = row.known_host.as_deref() == Some(&host);
    Ok(Access::Keys { keys, host_keys: if is_known { row.known_keys } else { vec![] } })
}

/// The installation of a project, while it works and is its team's.
pub(crate) async fn active(
    world: &World,
    team: TeamId,
    settings: &ProjectSettings,
) -> Result<Option<InstallationRow>, JobError> {
    let Some(id) = settings.installation_id else { return Ok(None) };
    let row = projections::teams::installation(&world.pool, id).await?;
    Ok(row.filter(|row| row.team_id == team && row.status == InstallationStatus::Active))
}

/// What a branch of a project's repository is at; nothing when there is no such branch. Asked by git itself: that is
/// the same for every host, and counts for no limit of requests.
pub(crate) async fn head(
    world: &World,
    of: (ProjectId, TeamId),
    settings: &ProjectSettings,
    branch: &BranchName,
) -> Result<Option<CommitSha>, Closed> {
    let repository = open(world, of, settings).await?;
    match world.git.resolve(&repository, branch).await {
        Ok(head) => Ok(Some(head)),
        Err(GitError::NoBranch(_)) => Ok(None),
        Err(GitError::Unreachable(why)) => Err(Closed::Job(JobError::Retry(why))),
        Err(error) => Err(Closed::Git(error)),
    }
}
