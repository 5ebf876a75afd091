//! `GET /v1/auth/verify`, `GET /v1/auth/orgs` — whether a credential works, and which teams it reaches.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::TeamId;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;

/// Teams at most; a command line shows them in one list.
const MANY: i64 = 200;

/// The teams of who asks.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliOrganizations)]
pub(crate) struct Organizations {
    organizations: Vec<Organization>,
}

/// A team, as the command line calls it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliOrganization)]
pub(crate) struct Organization {
    #[schema(value_type = uuid::Uuid)]
    id: TeamId,
    name: String,
    slug: String,
    /// `owner`, `admin`, `developer` or `viewer`; null for a project's token.
    role: Option<Value>,
}

/// The gate has answered the question.
pub(crate) async fn verify(caller: Caller) -> Json<Value> {
    let user = caller.user().ok();
    Json(json!({ "valid": true, "userId": user }))
}

pub(crate) async fn organizations(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<Json<Organizations>, ApiError> {
    let pool = &platform.pool;
    let teams = match caller.principal {
        Principal::ProjectToken { project, .. } => {
            let project = projections::projects::find(pool, project).await?;
            let project = project.ok_or_else(ApiError::not_found)?;
            Vec::from_iter(projections::teams::find(pool, project.team_id).await?)
        }
        _ => projections::teams::of_user(pool, caller.user()?, None, MANY).await?,
    };
    let mut organizations = Vec::with_capacity(teams.len());
    for team in teams {
        let role = match caller.user() {
            Ok(user) => projections::teams::membership(pool, team.id, user).await?.map(|role| json!(role)),
            Err(_) => None,
        };
        let (name, slug) = (team.name.to_string(), team.slug.to_string());
        organizations.push(Organization { id: team.id, name, slug, role });
    }
    Ok(Json(Organizations { organizations }))
}
