//! Teams that are closed. For everybody they are as unknown as teams that never were, but for who could have closed
//! them: he finds them in a list and may reopen them, and that is all.

use axum::http::request::Parts;
use domain::policy::{self, Action, Resource, Scope};
use projections::past::View;
use projections::teams::ClosedTeamRow;

use super::Caller;
use super::scope::{Question, grants_before_closing};
use crate::error::ApiError;
use crate::platform::Platform;

impl Caller {
    /// The closed teams that the caller may reopen, newest first.
    pub(crate) async fn closed_teams(&self, platform: &Platform) -> Result<Vec<ClosedTeamRow>, ApiError> {
        let grants = grants_before_closing(platform, &self.principal).await?;
        let everywhere = grants.iter().any(|grant| grant.scope == Scope::Global);
        let teams = grants.iter().filter_map(|grant| match grant.scope {
            Scope::Team { team_id } => Some(team_id),
            Scope::Global | Scope::Project { .. } => None,
        });
        let teams: Vec<_> = teams.collect();
        let of = (!everywhere).then_some(&*teams);
        let mut closed = projections::teams::closed(&platform.pool, of).await?;
        closed.retain(|team| {
            policy::allows(&grants, Resource::Team, Action::Delete, &self.context_of(team.id, None))
        });
        Ok(closed)
    }
}

/// Lets who could have closed a team do something about it. Answers whether there is such a team that is closed.
pub(super) async fn admit(
    platform: &Platform,
    name: &str,
    (right, caller): ((Resource, Action), &Caller),
    parts: &mut Parts,
) -> Result<bool, ApiError> {
    let closed = match name.parse() {
        Ok(id) => projections::teams::find_closed(&platform.pool, id).await?,
        Err(_) => projections::teams::find_closed_by_slug(&platform.pool, name).await?,
    };
    let Some(closed) = closed else { return Ok(false) };
    let grants = grants_before_closing(platform, &caller.principal).await?;
    let ask = Question::new(&grants, right, caller);
    let (id, view) = (closed.id, View::now(platform.pool.clone()));
    // Who only saw the team sees nothing of it now.
    ask.scoped(parts, ("team", id.0), id, None, closed.team(), view).map_err(|_| ApiError::not_found())?;
    Ok(true)
}
