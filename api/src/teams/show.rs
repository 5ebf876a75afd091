//! `GET /teams/{team}` — one team.

use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::{TeamId, UserId};
use projections::teams::{ClosedTeamRow, TeamRow};
use serde::Serialize;
use serde_json::{Value, json};

use crate::gate::Scoped;
use crate::reply::resource;

pub(crate) async fn handler(team: Scoped<TeamRow>) -> Response {
    resource(view(&team.it), team.it.version)
}

/// A team as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Team)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: TeamId,
    name: &'a str,
    slug: &'a str,
    #[schema(value_type = uuid::Uuid)]
    created_by_id: UserId,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// When it was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<DateTime<Utc>>,
    /// Until then it can be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    restorable_until: Option<DateTime<Utc>>,
}

/// A team as the API shows it.
pub(crate) fn view(team: &TeamRow) -> Value {
    json!(view_of(team))
}

/// A closed team as those see it who may restore it.
pub(crate) fn closed_view(closed: &ClosedTeamRow) -> Value {
    let (deleted_at, restorable_until) = (Some(closed.closed_at), Some(closed.until));
    json!(View { deleted_at, restorable_until, ..view_of(&closed.team()) })
}

fn view_of(team: &TeamRow) -> View<'_> {
    View {
        id: team.id,
        name: &team.name,
        slug: &team.slug,
        created_by_id: team.created_by,
        created_at: team.created_at,
        updated_at: team.updated_at,
        deleted_at: None,
        restorable_until: None,
    }
}
