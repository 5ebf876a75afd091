//! `DELETE /projects/{project}` — ends a project; everything of it stops.

use std::sync::Arc;

use axum::extract::State;
use domain::project::ProjectCommand;
use http::StatusCode;
use projections::projects::ProjectRow;
use serde_json::json;

use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
) -> Result<Done, ApiError> {
    let id = project.it.id;
    let receipt = platform.commands.project(id, ProjectCommand::DeleteProject, &project.context()).await?;
    let done =
        Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": id, "deleted": true })))
            .await;
    // What is kept of it beside the log goes, too.
    platform.rules_changed.notify_one();
    done
}
