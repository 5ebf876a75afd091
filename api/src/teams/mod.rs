//! Teams.

mod change;
mod create;
mod delete;
mod list;
mod show;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::ids::{TeamId, UserId};
use projections::teams::TeamRow;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::platform::Platform;

pub(crate) fn routes() -> OpenApiRouter<Arc<Platform>> {
    OpenApiRouter::new()
        .routes(routes!(list::handler))
        .routes(routes!(create::handler))
        .routes(routes!(show::handler))
        .routes(routes!(change::handler))
        .routes(routes!(delete::handler))
}

/// A team.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TeamView {
    #[schema(value_type = Uuid)]
    id: TeamId,
    name: String,
    slug: String,
    #[schema(value_type = Uuid)]
    created_by: UserId,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<TeamRow> for TeamView {
    fn from(row: TeamRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            slug: row.slug,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
