//! `GET /teams/{team}` — one team.

use axum::response::Response;
use projections::teams::TeamRow;
use serde_json::{Value, json};

use crate::gate::Scoped;
use crate::reply::resource;

pub(crate) async fn handler(team: Scoped<TeamRow>) -> Response {
    resource(view(&team.it), team.it.version)
}

/// A team as the API shows it.
pub(crate) fn view(team: &TeamRow) -> Value {
    json!({
        "id": team.id,
        "name": team.name,
        "slug": team.slug,
        "createdById": team.created_by,
        "createdAt": team.created_at,
        "updatedAt": team.updated_at,
    })
}
