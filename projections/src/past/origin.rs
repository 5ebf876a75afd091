//! Where something belongs, by what the log says of its birth: known also when it has gone since.

use domain::build::BuildEvent;
use domain::deployment::DeploymentEvent;
use domain::fact::Fact;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId, TeamId};
use domain::project::ProjectEvent;
use sqlx::PgPool;

use super::{Extent, PastError};
use crate::log;

/// Something that a request may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A team.
    Team(TeamId),
    /// A project.
    Project(ProjectId),
    /// An environment of a project.
    Environment(EnvironmentId),
    /// A build.
    Build(BuildId),
    /// A deployment.
    Deployment(DeploymentId),
}

/// Where something belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its team.
    pub team_id: TeamId,
    /// Its project, if it has one.
    pub project_id: Option<ProjectId>,
    /// Its own stream, when it is neither team nor project nor a part of one.
    own: Option<(&'static str, String)>,
}

impl Origin {
    /// Where this belongs; none when the log has never heard of it.
    pub async fn find(pool: &PgPool, thing: Thing) -> Result<Option<Self>, PastError> {
        let birth = match thing {
            Thing::Team(id) => {
                let known = log::first(pool, "team", &id.to_string()).await?.is_some();
                return Ok(known.then_some(Self { team_id: id, project_id: None, own: None }));
            }
            Thing::Environment(id) => match log::project_of_environment(pool, id).await? {
                Some(project) => log::first(pool, "project", &project).await?,
                None => None,
            },
            Thing::Project(id) => log::first(pool, "project", &id.to_string()).await?,
            Thing::Build(id) => log::first(pool, "build", &id.to_string()).await?,
            Thing::Deployment(id) => log::first(pool, "deployment", &id.to_string()).await?,
        };
        let Some(birth) = birth else { return Ok(None) };
        Ok(birth.read()?.facts.into_iter().find_map(|fact| match fact {
            Fact::Project(id, ProjectEvent::ProjectCreated { team_id, .. }) => {
                Some(Self { team_id, project_id: Some(id), own: None })
            }
            Fact::Build(id, BuildEvent::BuildRequested { team_id, project_id, .. }) => {
                let own = Some(("build", id.to_string()));
                Some(Self { team_id, project_id: Some(project_id), own })
            }
            Fact::Deployment(id, DeploymentEvent::DeploymentRequested { team_id, project_id, .. }) => {
                let own = Some(("deployment", id.to_string()));
                Some(Self { team_id, project_id: Some(project_id), own })
            }
            _ => None,
        }))
    }

    /// What a view of it is of: its own stream and those that it is a part of, and all of some kinds.
    pub fn extent(self, all: &'static [&'static str]) -> Extent {
        let Self { team_id, project_id, own } = self;
        let project = project_id.map(|id| ("project", id.to_string()));
        let streams = [Some(("team", team_id.to_string())), project, own].into_iter().flatten().collect();
        Extent { team_id, project_id, streams, all }
    }
}
