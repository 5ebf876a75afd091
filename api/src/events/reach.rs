//! Whose events somebody may see: of teams and projects whose audit trail he may read.

use domain::policy::{self, Action, Grant, Resource, Scope};
use projections::audit_trail::Reach;

use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;

/// What the caller reaches by what he holds now.
pub(super) async fn of(platform: &Platform, caller: &Caller) -> Result<Reach, ApiError> {
    let grants = caller.grants(platform).await?;
    let may = |context: &policy::Context| policy::allows(&grants, Resource::Audit, Action::Read, context);
    let mut reach = Reach::default();
    for Grant { scope, .. } in &grants {
        match scope {
            Scope::Global => {
                reach.everywhere |= may(&policy::Context {
                    user_id: caller.user().ok(),
                    ip: Some(caller.ip),
                    ..policy::Context::default()
                });
            }
            Scope::Team { team_id } => {
                if may(&caller.context_of(*team_id, None)) {
                    reach.teams.push(*team_id);
                }
            }
            Scope::Project { project_id } => {
                let project = projections::projects::find(&platform.pool, *project_id).await?;
                if let Some(project) = project
                    && may(&caller.context_of(project.team_id, Some(project.id)))
                {
                    reach.projects.push(project.id);
                }
            }
        }
    }
    Ok(reach)
}
