//! Sessions of the person who calls.

pub(super) mod end;
pub(super) mod end_others;
pub(super) mod list;

use commands::{CommandError, Context, Receipt, sessions};
use domain::ids::{SessionId, UserId};
use domain::user::UserCommand;
use serde::Serialize;

use crate::caller::{Caller, Principal};
use crate::error::{ApiError, Problem};
use crate::people::step;
use crate::platform::Platform;

/// Sessions that have ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Ended {
    /// Their ids.
    #[schema(value_type = Vec<Uuid>)]
    pub(super) ended: Vec<SessionId>,
}

/// The session of the request.
pub(super) fn current(caller: &Caller) -> Result<(UserId, SessionId), ApiError> {
    match caller.principal() {
        Principal::Session { user_id, session_id, .. } => Ok((*user_id, *session_id)),
        _ => Err(Problem::forbidden("sign in for this: no token will do").into()),
    }
}

/// Ends a session: event and row. The row goes even when the log does not know the session.
pub(super) async fn end(
    platform: &Platform,
    user_id: UserId,
    session_id: SessionId,
    context: &Context,
) -> Result<Receipt, ApiError> {
    let answer = platform.commands.user(user_id, UserCommand::SignOut { session_id }, context).await;
    if !matches!(answer, Err(CommandError::DryRun(_) | CommandError::Conflict { .. })) {
        sessions::end(&platform.pool, user_id, session_id).await?;
    }
    Ok(answer?)
}

/// Ends all sessions of a user but one. `first` is the number of the first of these steps in its request.
pub(super) async fn end_others(
    platform: &Platform,
    user_id: UserId,
    keep: SessionId,
    context: &Context,
    first: usize,
) -> Result<(Vec<SessionId>, Option<Receipt>), ApiError> {
    let idle = platform.settings.session_idle;
    let all = sessions::of_user(&platform.pool, user_id, context.at, idle).await?;
    let (mut ended, mut last) = (vec![], None);
    for (session, n) in all.into_iter().filter(|session| session.id != keep).zip(first..) {
        last = Some(end(platform, user_id, session.id, &step(context, n)).await?);
        ended.push(session.id);
    }
    Ok((ended, last))
}
