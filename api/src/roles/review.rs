//! `GET /teams/{team}/access-review` — who could do something in a team or a project of it, now or then, and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::ids::{EnvironmentId, ProjectId, UserId};
use domain::policy::{self, Action, Bar, Grant, Holding, Resource, Scope, explain};
use domain::sealed::purpose;
use http::header;
use projections::past::View;
use projections::teams::TeamRow;
use projections::users::UserRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::why::Reasons;
use crate::body::Query;
use crate::csv;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::shape;

const COLUMNS: [&str; 15] = [
    "subject",
    "email",
    "firstName",
    "lastName",
    "verdict",
    "role",
    "scope",
    "source",
    "through",
    "conditions",
    "since",
    "eventId",
    "eventPosition",
    "eventActor",
    "eventAt",
];

/// What is asked about.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Which {
    #[param(inline, value_type = shape::Resource)]
    resource: Resource,
    #[param(inline, value_type = shape::Action)]
    action: Action,
    #[param(value_type = Option<uuid::Uuid>)]
    project_id: Option<ProjectId>,
    #[param(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    branch: Option<String>,
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// As what it is answered.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Query(which): Query<Which>,
) -> Result<Response, ApiError> {
    let view = team.view();
    if let Some(project) = which.project_id {
        let known = projections::projects::find(view, project).await?;
        known.filter(|known| known.team_id == team.it.id).ok_or_else(ApiError::not_found)?;
    }
    let mut items = people(&platform, &team, &which).await?;
    items.extend(tokens(view, &team, &which).await?);
    if which.format == Format::Json {
        let review = json!({
            "teamId": team.it.id, "projectId": which.project_id, "resource": which.resource, "action": which.action,
            "items": items,
        });
        return Ok(Json(review).into_response());
    }
    let mut out = String::new();
    csv::row(COLUMNS.map(str::to_owned), &mut out);
    items.iter().for_each(|item| rows(item, &mut out));
    let name = format!("attachment; filename=\"access-review-{}.csv\"", team.it.id);
    let kind = "text/csv; charset=utf-8; header=present".to_owned();
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], out).into_response())
}

/// Everybody who could, or could under a condition.
async fn people(platform: &Platform, team: &Scoped<TeamRow>, which: &Which) -> Result<Vec<Value>, ApiError> {
    let view = team.view();
    let members = projections::teams::members(view, team.it.id).await?;
    let mut users: Vec<UserId> = members.iter().map(|member| member.user_id).collect();
    users.extend(projections::roles::assignees(view, team.it.id).await?);
    users.sort_unstable_by_key(|user| user.0);
    users.dedup();
    let holdings = projections::roles::holdings_of(view, &users).await?;
    let known = projections::users::find_all(view, &users).await?;
    let mut reasons = Reasons::up_to(platform, view.then().map_or(i64::MAX, |then| then.position));
    let mut items = vec![];
    for user in users {
        let context = context(team, which, Some(user));
        let his: Vec<Holding> =
            holdings.iter().filter(|(of, _)| *of == user).map(|(_, holding)| holding.clone()).collect();
        let mut verdict = explain(&his, which.resource, which.action, &context);
        verdict.findings.retain(|finding| finding.bar != Some(Bar::Scope));
        if verdict.findings.is_empty() {
            continue;
        }
        let mut item = json!({
            "subject": format!("user:{user}"),
            "verdict": if verdict.allowed { "allowed" } else { "conditional" },
            "because": reasons.of(user, &verdict).await?,
        });
        if let Some(row) = known.iter().find(|row| row.id == user) {
            name(platform, row, &mut item).await?;
        }
        items.push(item);
    }
    Ok(items)
}

/// The tokens of the project that could.
async fn tokens(view: &View, team: &Scoped<TeamRow>, which: &Which) -> Result<Vec<Value>, ApiError> {
    let Some(project_id) = which.project_id else { return Ok(vec![]) };
    let (at, context) = (view.at(team.caller().at()), context(team, which, None));
    let mut tokens = projections::tokens::of_project(view, project_id).await?;
    tokens.retain(|token| {
        let permissions = token.scopes.iter().flat_map(|scope| scope.permissions()).collect();
        let grants = [Grant { scope: Scope::Project { project_id }, permissions }];
        token.expires_at.is_none_or(|end| end > at)
            && policy::allows(&grants, which.resource, which.action, &context)
    });
    let view = |token: &projections::tokens::TokenRow| {
        json!({
            "subject": format!("token:{}", token.id),
            "firstName": token.name,
            "verdict": "allowed",
            "because": [{
                "counts": true,
                "source": { "type": "token", "id": token.id },
                "scope": Scope::Project { project_id },
                "scopes": token.scopes,
                "since": token.created_at,
            }],
        })
    };
    Ok(tokens.iter().map(view).collect())
}

fn context(team: &Scoped<TeamRow>, which: &Which, user_id: Option<UserId>) -> policy::Context {
    policy::Context {
        team_id: Some(team.it.id),
        project_id: which.project_id,
        environment: which.environment,
        branch: which.branch.clone(),
        user_id,
        ..policy::Context::default()
    }
}

async fn name(platform: &Platform, user: &UserRow, item: &mut Value) -> Result<(), ApiError> {
    let vault = platform.commands.vault();
    item["email"] = vault.open_text(&user.email, purpose::USER_EMAIL).await?.into();
    item["firstName"] = vault.open_text(&user.first_name, purpose::USER_FIRST_NAME).await?.into();
    item["lastName"] = vault.open_text(&user.last_name, purpose::USER_LAST_NAME).await?.into();
    Ok(())
}

/// A row for every reason, with the event that gave the role.
fn rows(item: &Value, out: &mut String) {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for reason in item["because"].as_array().into_iter().flatten() {
        let through: Vec<String> = reason["through"].as_array().into_iter().flatten().map(text).collect();
        let event = &reason["events"][0];
        let mut cells: Vec<String> =
            ["subject", "email", "firstName", "lastName"].map(|column| text(&item[column])).to_vec();
        cells.push(if reason["counts"] == true { "allowed" } else { "conditional" }.to_owned());
        cells.extend([text(&reason["role"]), text(&reason["scope"]), text(&reason["source"]["type"])]);
        cells.extend([
            through.join(" > "),
            text(&reason["permission"]["conditions"]),
            text(&reason["since"]),
        ]);
        cells.extend(["eventId", "position", "actor", "at"].map(|column| text(&event[column])));
        csv::row(cells, out);
    }
}
