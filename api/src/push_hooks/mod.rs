//! `GET/POST /projects/{project}/push-hooks`, `DELETE …/{hook}`, `POST …/{hook}/rotate` — webhooks by which git hosts
//! tell a project of pushes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::{Context, Receipt};
use domain::ids::{HookId, SecretId};
use domain::project::ProjectCommand;
use domain::sealed::{KeyOwner, Sealed, purpose};
use domain::values::DisplayName;
use http::StatusCode;
use projections::projects::ProjectRow;
use projections::repository_access::{PushHookRow, find_hook, hooks_of};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::token::NewToken;
use crate::body::{Body, Params, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, versioned};
use crate::shape;
use crate::tokens::overlap;

/// Where git hosts deliver to; the id of the webhook follows.
pub(crate) const PATH: &str = "/api/webhooks/git/";
/// Characters of the end of a secret that lists show.
const SHOWN: usize = 4;

/// A new webhook.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreatePushHook {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
}

/// Another secret for a webhook.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RotatePushHook {
    /// For how many seconds the old secret still works: 0 to 604800, a day when absent.
    overlap_seconds: Option<u32>,
}

/// A webhook without its secret, as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PushHook)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: HookId,
    name: &'a str,
    /// Where the git host delivers to.
    url: String,
    /// What its secret ends with.
    last_four: &'a str,
    /// Until when the secret before the last rotation works.
    old_secret_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

/// A webhook that was made or got another secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PushHookSecret)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSecret {
    #[schema(value_type = View)]
    hook: Option<Value>,
    /// It is shown here and never again.
    secret: String,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let hooks = hooks_of(project.view(), project.it.id).await?;
    let (hooks, next) = page.cut(hooks, |row| row.id.0)?;
    let views = hooks.iter().map(|row| json!(view(&platform, row))).collect();
    Ok(versioned(items(views, next), project.it.version))
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(CreatePushHook { name }): Body<CreatePushHook>,
) -> Result<Done, ApiError> {
    let (hook_id, context) = (platform.new_id(), project.context());
    let (plain, secret) = seal(&platform, &project, &context).await?;
    let command = ProjectCommand::CreatePushHook { hook_id, name, secret, last_four: end(&plain) };
    let receipt = platform.commands.project(project.it.id, command, &context).await?;
    made(&platform, StatusCode::CREATED, receipt, (&project, None), plain).await
}

pub(crate) async fn rotate(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
    Body(body): Body<RotatePushHook>,
) -> Result<Done, ApiError> {
    let (hook_id, context) = (params.id("hook")?, project.context());
    let overlap_until = context.at + overlap(body.overlap_seconds)?;
    let (plain, secret) = seal(&platform, &project, &context).await?;
    let command = ProjectCommand::RotatePushHook { hook_id, secret, last_four: end(&plain), overlap_until };
    let receipt = platform.commands.project(project.it.id, command, &context).await?;
    made(&platform, StatusCode::OK, receipt, (&project, Some(hook_id)), plain).await
}

pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    params: Params,
) -> Result<Done, ApiError> {
    let hook_id = params.id("hook")?;
    let command = ProjectCommand::DeletePushHook { hook_id };
    let receipt = platform.commands.project(project.it.id, command, &project.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": hook_id, "deleted": true })))
        .await
}

/// A new secret, in clear and sealed. With an idempotency key it is the same again, as that of an API token.
async fn seal(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    context: &Context,
) -> Result<(String, Sealed), ApiError> {
    let vault = platform.commands.vault();
    let random = NewToken::invite(context.key.as_ref(), vault).await?;
    let plain = platform.push_hooks.secret(&domain::secret::Secret::new(random.hash));
    let plain = plain.expose_str().unwrap_or_default().to_owned();
    let (owner, sealing): (_, SecretId) = (KeyOwner::Project(project.it.id), platform.new_id());
    let sealed = vault.seal_for(context, owner, purpose::PUSH_HOOK, sealing, plain.as_bytes()).await?;
    Ok((plain, sealed))
}

fn end(plain: &str) -> String {
    plain[plain.len().saturating_sub(SHOWN)..].to_owned()
}

/// Answers with the webhook and its secret. One that was just made is the one whose secret this is.
async fn made(
    platform: &Platform,
    status: StatusCode,
    receipt: Receipt,
    (project, hook): (&Scoped<ProjectRow>, Option<HookId>),
    plain: String,
) -> Result<Done, ApiError> {
    Done::new(platform, status, receipt, async || {
        let row = match hook {
            Some(id) => find_hook(&platform.pool, id).await?,
            None => {
                let all = hooks_of(&platform.pool, project.it.id).await?;
                all.into_iter().find(|row| row.last_four == end(&plain))
            }
        };
        Ok(json!(NewSecret { hook: row.map(|row| json!(view(platform, &row))), secret: plain }))
    })
    .await
}

fn view<'a>(platform: &Platform, row: &'a PushHookRow) -> View<'a> {
    View {
        id: row.id,
        name: &row.name,
        url: format!("{}{PATH}{}", platform.settings.public_url, row.id),
        last_four: &row.last_four,
        old_secret_until: row.old_until,
        created_at: row.created_at,
    }
}
