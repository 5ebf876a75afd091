//! `GET` and `PUT /projects/{project}/retention` — how many days telemetry is kept.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use commands::Expected;
use domain::project::{ProjectCommand, ProjectSettings};
use http::StatusCode;
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::projects::create::find;
use crate::reply::{Done, resource};

/// How long telemetry of a project is kept.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Retention {
    /// Days besides today; null: as long as the installation keeps any.
    days: Option<u16>,
    /// Days besides today that the installation keeps.
    installation_days: i64,
}

/// Days besides today; null for the installation's.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetRetention {
    /// At most as many as the installation's.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u16>,
}

pub(crate) async fn show(State(platform): State<Arc<Platform>>, project: Scoped<ProjectRow>) -> Response {
    resource(view(&platform, &project.it), project.it.version)
}

pub(crate) async fn set(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(SetRetention { days }): Body<SetRetention>,
) -> Result<Done, ApiError> {
    let most = installation_days(&platform);
    if days.is_some_and(|days| days == 0 || i64::from(days) > most) {
        let message = format!("must be 1 to {most}, as many as the installation keeps, or null");
        return Err(ApiError::field("days", "out_of_range", message));
    }
    let settings = ProjectSettings { telemetry_days: days, ..project.it.settings.clone() };
    change(&platform, &project, settings, view).await
}

/// Other settings, decided on what was read: somebody else's change in between must not be undone.
pub(super) async fn change(
    platform: &Arc<Platform>,
    project: &Scoped<ProjectRow>,
    settings: ProjectSettings,
    view: impl FnOnce(&Platform, &ProjectRow) -> Value,
) -> Result<Done, ApiError> {
    let id = project.it.id;
    let command = ProjectCommand::ChangeProjectSettings { settings: Box::new(settings) };
    let mut context = project.context();
    if context.expected == Expected::Any {
        context.expected = Expected::Exactly(project.it.version);
    }
    let receipt = platform.commands.project(id, command, &context).await?;
    let done =
        Done::new(platform, StatusCode::OK, receipt, async || Ok(view(platform, &find(platform, id).await?)))
            .await;
    // Known to the query tables by now, where it is read.
    platform.rules_changed.notify_one();
    done
}

fn view(platform: &Platform, project: &ProjectRow) -> Value {
    json!(Retention { days: project.settings.telemetry_days, installation_days: installation_days(platform) })
}

fn installation_days(platform: &Platform) -> i64 {
    let now = (platform.now)();
    (now.date_naive() - platform.telemetry.window(now).start().date_naive()).num_days()
}
