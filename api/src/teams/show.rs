//! `GET /api/v1/teams/{team}`: one team, by id or slug.

use projections::teams::TeamRow;

use super::TeamView;
use crate::caller::Scoped;
use crate::reply::Reply;

#[utoipa::path(get, path = "/api/v1/teams/{team}", operation_id = "getTeam", tag = "teams",
    responses((status = 200, body = TeamView)))]
pub(crate) async fn handler(team: Scoped<TeamRow>) -> Reply<TeamView> {
    Reply::resource(team.version, team.into_inner().into())
}
