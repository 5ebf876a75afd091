//! `DELETE /me` — erases who asks: the key of all that is personal is destroyed.

use std::sync::Arc;

use axum::extract::State;
use chrono::TimeDelta;
use commands::sessions::Session;
use commands::{CommandError, Step};
use domain::ids::{SessionId, UserId};
use domain::team::{MemberRole, Team, TeamCommand, TeamError};
use domain::user::UserCommand;
use http::StatusCode;
use projections::shred;
use projections::teams::TeamRow;
use serde::Deserialize;
use serde_json::json;

use crate::auth::password;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;
use crate::reply::Done;

/// Teams that somebody belongs to, at most.
const TEAMS: i64 = 10_000;

/// Whoever has no password must have signed in so lately.
const LATELY: TimeDelta = TimeDelta::minutes(10);

/// There is no way back: the password once more, of who has one.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EraseMe {
    password: Option<String>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(EraseMe { password }): Body<EraseMe>,
) -> Result<Done, ApiError> {
    let Principal::Session { user, session, .. } = caller.principal else {
        return Err(ApiError::forbidden("Somebody is erased who is signed in, not by a token."));
    };
    platform.throttle.check(caller.ip, &user.to_string(), caller.at())?;
    match commands::credentials::password(&platform.pool, user).await? {
        None => signed_in_lately(&platform, &caller, user, session).await?,
        stored => {
            let password = password.ok_or_else(|| ApiError::field("password", "required", "is required"))?;
            if !password::matches(password, stored).await? {
                platform.throttle.failed(caller.ip, &user.to_string(), caller.at());
                return Err(ApiError::field("password", "wrong_password", "is not the present password"));
            }
        }
    }
    let teams = projections::teams::of_user(&platform.pool, user, None, TEAMS).await?;
    // Before the first step: half an erasure would leave somebody in some teams.
    for team in &teams {
        if platform.commands.load::<Team>(team.id).await?.aggregate.is_last_owner(user) {
            return Err(last_owner(team));
        }
    }
    let context = caller.context(None);
    if caller.is_dry_run() {
        let leave = TeamCommand::RemoveMember { user_id: user, by: MemberRole::Owner };
        let mut steps: Vec<Step> = teams.iter().map(|team| Step::Team(team.id, leave.clone())).collect();
        steps.push(Step::User(user, UserCommand::EraseUser));
        platform.commands.together(&steps, &context).await?;
    }
    for (team, n) in teams.iter().zip(1..) {
        leave(&platform, &caller, user, team, n).await?;
    }
    let receipt = platform.commands.user(user, UserCommand::EraseUser, &context).await?;
    let listed = platform.shred_list.add(user, caller.at());
    listed.map_err(|error| ApiError::internal(&error))?;
    let destroyed = shred::erase(&platform.pool, user).await?;
    platform.commands.vault().forget(&destroyed);
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "id": user, "erased": true }))).await
}

async fn signed_in_lately(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    session: SessionId,
) -> Result<(), ApiError> {
    let sessions = platform.sessions.of_user(user, caller.at()).await?;
    let is_new = |known: &Session| known.id == session && caller.at() - known.created_at < LATELY;
    if sessions.iter().any(is_new) {
        return Ok(());
    }
    let detail = "Sign in again through your provider, and then once more here.";
    Err(ApiError::new(StatusCode::FORBIDDEN, "sign_in_again", detail))
}

async fn leave(
    platform: &Platform,
    caller: &Caller,
    user_id: UserId,
    team: &TeamRow,
    n: usize,
) -> Result<(), ApiError> {
    let command = TeamCommand::RemoveMember { user_id, by: MemberRole::Owner };
    match platform.commands.team(team.id, command, &caller.step(Some(team.id), n)).await {
        Err(CommandError::Refused(TeamError::LastOwner)) => Err(last_owner(team)),
        // The table is behind: the membership has ended.
        Err(CommandError::Refused(TeamError::UnknownMember | TeamError::Unknown)) => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}

fn last_owner(team: &TeamRow) -> ApiError {
    let slug = &team.slug;
    let detail = format!("You are the last owner of the team {slug}: give it another one, or close it.");
    ApiError::new(StatusCode::CONFLICT, "last_owner", detail)
}
