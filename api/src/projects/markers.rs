//! `GET /projects/{project}/markers?from=&to=` — what to mark on charts: deployments that took over, rollbacks, changes
//! of settings and variables; newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::deployment::DeploymentKind;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, EventId};
use domain::policy::{Action, Resource};
use projections::deployments::Failure;
use projections::markers::{Group, MarkerRow};
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::{cursor, place};
use crate::body::Query;
use crate::env_vars;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Page, items, list as cut};

/// Not before, and before, a time.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Span {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

/// A marker as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Marker)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    position: i64,
    #[schema(value_type = uuid::Uuid)]
    event_id: EventId,
    at: DateTime<Utc>,
    /// `deploy`, `promote`, `rollback` or `restart`: it serves from now on; `rolled_back`, `stop`, `settings`,
    /// `environment`, `env_var_set`, `env_var_deleted`.
    #[serde(rename = "type")]
    kind: &'static str,
    actor: &'a str,
    on_behalf_of: Option<&'a str>,
    cause: Cause<'a>,
    /// All environments when absent.
    #[schema(value_type = Option<uuid::Uuid>)]
    environment_id: Option<EnvironmentId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    build_id: Option<BuildId>,
    commit: Option<&'a str>,
    /// Why it was rolled back: a code and a message.
    #[schema(value_type = Option<Object>)]
    failure: Option<&'a Failure>,
    #[schema(value_type = Option<uuid::Uuid>)]
    rolled_back_to: Option<DeploymentId>,
    /// The variable.
    key: Option<&'a str>,
    /// Names of the settings that changed.
    changed: Vec<String>,
}

/// The event that it began with: what somebody asked for, or what came from outside.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MarkerCause)]
#[serde(rename_all = "camelCase")]
struct Cause<'a> {
    position: i64,
    #[schema(value_type = uuid::Uuid)]
    event_id: EventId,
    action: &'a str,
    actor: &'a str,
}

/// Each sees the kinds that he may read.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(span): Query<Span>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let limit = page.limit()?;
    let after = page.cursor::<String>()?.as_deref().map(place).transpose()?;
    let (team, id) = (project.it.team_id, project.it.id);
    let mut groups = vec![Group::Settings];
    for (group, resource) in
        [(Group::Deployments, Resource::Build), (Group::EnvVars, Resource::ProjectEnvVars)]
    {
        if project.may(&platform, Some(id), resource, Action::Read).await? {
            groups.push(group);
        }
    }
    let times = (span.from, span.to);
    let rows = projections::markers::between(&platform.pool, (team, id), &groups, times, after, limit + 1);
    let (rows, next) = cut(rows.await?, limit, |row| cursor((row.at, row.position).into()));
    let may_read = env_vars::readable(&platform, &project).await?;
    let seen = rows.iter().filter(|row| !row.action.contains("env_var") || may_read(environment(row)));
    Ok(items(seen.map(view).collect(), next))
}

fn view(row: &MarkerRow) -> Value {
    let deployment = row.deployment.as_ref();
    let cause = &row.cause;
    let is_back = row.action == "deployment.rolled_back";
    json!(View {
        position: row.position,
        event_id: row.event_id,
        at: row.at,
        kind: kind(row),
        actor: &row.actor,
        on_behalf_of: row.on_behalf_of.as_deref(),
        cause: Cause {
            position: cause.position,
            event_id: cause.event_id,
            action: &cause.action,
            actor: &cause.actor,
        },
        environment_id: environment(row),
        deployment_id: deployment.map(|it| it.id),
        build_id: deployment.map(|it| it.build_id),
        commit: deployment.and_then(|it| it.commit.as_deref()),
        failure: deployment.and_then(|it| it.failure.as_ref()).filter(|_| is_back),
        rolled_back_to: deployment.and_then(|it| it.rolled_back_to).filter(|_| is_back),
        key: text(row, "key"),
        changed: changed(row),
    })
}

fn kind(row: &MarkerRow) -> &'static str {
    match (row.action.as_str(), row.deployment.as_ref().map(|it| it.kind)) {
        ("deployment.rolled_back", _) => "rolled_back",
        ("deployment.stopped", _) => "stop",
        ("project.settings_changed", _) => "settings",
        ("project.environment_changed", _) => "environment",
        ("project.env_var_set", _) => "env_var_set",
        ("project.env_var_deleted", _) => "env_var_deleted",
        (_, Some(DeploymentKind::Promote)) => "promote",
        (_, Some(DeploymentKind::Rollback)) => "rollback",
        (_, Some(DeploymentKind::Restart)) => "restart",
        (_, Some(DeploymentKind::Deploy) | None) => "deploy",
    }
}

/// Where it holds.
fn environment(row: &MarkerRow) -> Option<EnvironmentId> {
    let field = if row.action == "project.environment_changed" { "id" } else { "environment_id" };
    let of_deployment = row.deployment.as_ref().map(|it| it.environment_id);
    of_deployment.or_else(|| text(row, field)?.parse().ok())
}

/// A field of what it is, or of what it was when it is gone.
fn text<'a>(row: &'a MarkerRow, field: &str) -> Option<&'a str> {
    let is_settings = row.action == "project.settings_changed";
    [&row.after, &row.before]
        .into_iter()
        .flatten()
        .find_map(|it| it.get(field)?.as_str())
        .filter(|_| !is_settings)
}

/// Names of what is different.
fn changed(row: &MarkerRow) -> Vec<String> {
    let is_change = matches!(row.action.as_str(), "project.settings_changed" | "project.environment_changed");
    let (Some(Value::Object(before)), Some(Value::Object(after)), true) =
        (&row.before, &row.after, is_change)
    else {
        return vec![];
    };
    let mut names: Vec<&str> = before.keys().chain(after.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    // Whose it is stands beside the new settings, not beside the old.
    names.retain(|name| *name != "team_id" && before.get(*name) != after.get(*name));
    names.into_iter().map(as_shown).collect()
}

/// A name as it is stored, `min_scale`, as the API has it: `minScale`.
fn as_shown(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |shown, word| {
        let mut letters = word.chars();
        letters.next().map_or(shown.clone(), |letter| {
            format!("{shown}{}{}", letter.to_ascii_uppercase(), letters.as_str())
        })
    })
}
