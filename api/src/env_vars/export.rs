//! `GET /projects/{project}/env-vars/export` — the variables with their values as a `.env` file.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::dotenv;
use domain::ids::EnvironmentId;
use domain::sealed::purpose;
use http::header;
use projections::projects::ProjectRow;
use serde::Deserialize;

use super::record_reveal;
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// Those that hold in an environment; without one, those of the whole project alone.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Where {
    #[param(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
}

/// Shows values: it needs what a reveal needs, and is recorded as one.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(place): Query<Where>,
) -> Result<Response, ApiError> {
    let rows = projections::env_vars::of_project(&platform.pool, project.it.id).await?;
    let here = rows
        .into_iter()
        .filter(|row| row.environment_id.is_none() || row.environment_id == place.environment);
    // Those of the environment come after those of the project, and win.
    let rows: BTreeMap<_, _> = here.map(|row| (row.key.clone(), row)).collect();
    let rows: Vec<_> = rows.into_values().collect();
    record_reveal(&platform, &project, &rows).await?;
    let mut values = Vec::with_capacity(rows.len());
    for row in &rows {
        let purpose = purpose::env_var(row.environment_id, &row.key);
        values.push(platform.commands.vault().open_sealed(&row.value, &purpose).await?);
    }
    let texts = values.iter().map(|value| value.expose_str().expect("a value comes as text"));
    let file = dotenv::write(rows.iter().map(|row| &row.key).zip(texts));
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"env.txt\""),
    ];
    Ok((headers, file).into_response())
}
