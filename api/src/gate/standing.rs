//! Answers that go on after the gate was passed: they end when who gets them could pass it no more.

use std::sync::Arc;
use std::time::Duration;

use domain::policy::{self, Action, Resource};
use futures_util::future::{self, Either};
use futures_util::stream::{self, Stream, StreamExt};

use super::{Caller, Principal, api_token};
use crate::error::ApiError;
use crate::platform::Platform;

/// How often it is asked anew. A stream ends at most so long, and the time of the question, after the right did.
pub(crate) const EVERY: Duration = Duration::from_secs(2);

/// Somebody who was let in, and by which right.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    caller: Caller,
    right: Option<(Resource, Action, policy::Context)>,
}

impl Standing {
    /// Somebody who was let in by this right.
    pub(crate) fn new(caller: Caller, right: Option<(Resource, Action, policy::Context)>) -> Self {
        Self { caller, right }
    }

    /// Whoever is signed in.
    pub(crate) fn of(caller: &Caller) -> Self {
        Self::new(caller.clone(), None)
    }

    /// Whether he would still be let in.
    pub(crate) async fn holds(&self, platform: &Platform) -> Result<bool, ApiError> {
        let now = (platform.now)();
        let is_known = match &self.caller.principal {
            Principal::Nobody | Principal::Deployment { .. } => false,
            Principal::Session { session, .. } => platform.sessions.is_open(*session, now).await?,
            Principal::PersonalToken { token, .. } | Principal::ProjectToken { token, .. } => {
                api_token::still_works(platform, *token).await?
            }
            Principal::ProviderToken { .. } => true,
        };
        let Some((resource, action, context)) = self.right.as_ref().filter(|_| is_known) else {
            return Ok(is_known);
        };
        if let Some(team) = context.team_id
            && projections::teams::is_closed(&platform.pool, team).await?
        {
            return Ok(false);
        }
        let grants = self.caller.grants(platform).await?;
        Ok(policy::allows(&grants, *resource, *action, context))
    }

    /// Ends when he would not be let in any more. While that cannot be found out, nothing can be read either.
    pub(crate) async fn lost(self, platform: Arc<Platform>) {
        loop {
            tokio::time::sleep(EVERY).await;
            if matches!(self.holds(&platform).await, Ok(false)) {
                return;
            }
        }
    }
}

/// The stream until the right to it is lost; then `last`, if anything, and the end.
pub(crate) fn while_standing<S: Stream>(
    lost: impl Future<Output = ()>,
    stream: S,
    last: fn() -> Option<S::Item>,
) -> impl Stream<Item = S::Item> {
    let state = (Box::pin(stream), Some(Box::pin(lost)));
    stream::unfold(state, move |(mut stream, lost)| async move {
        match future::select(lost?, stream.next()).await {
            Either::Left(_) => last().map(|item| (item, (stream, None))),
            Either::Right((item, lost)) => item.map(|item| (item, (stream, Some(lost)))),
        }
    })
}
