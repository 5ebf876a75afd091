//! Records access before it is answered: what was denied, who could not sign in, what was taken away.
//!
//! Invariant: each is recorded, or counted by an event that is; who asked is answered only after that.

mod flood;

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use domain::access::{Access, AccessEvent, RecordAccess};
use domain::envelope::Actor;
use domain::ids::AccessId;
use uuid::Uuid;

use crate::outcome::CommandError;
use crate::store::{Change, Loaded};
use crate::{Commands, Context, Receipt, StoreError};

pub(crate) use self::flood::Flood;
use self::flood::{Suppressed, Then};

impl Commands {
    /// Records access. Denials and failures are recorded one by one up to a number a minute, of each address and
    /// account and of all; what is more is counted. Exports are always recorded. Answers with the receipt of what
    /// was recorded. On an error nothing is, and who asked must not get what he asked for.
    pub async fn access(&self, event: AccessEvent, context: &Context) -> Result<Option<Receipt>, StoreError> {
        let Some(sources) = sources(&event, context) else {
            return self.append_access(event, context).await.map(Some);
        };
        let verdict = self.flood.judge(&sources, context.at);
        if let Some(over) = verdict.over {
            self.close_flood(over, context).await?;
        }
        let how = if verdict.then == Then::Record { "recorded" } else { "counted" };
        metrics::counter!("mastra_admin_access_total", "how" => how).increment(1);
        match verdict.then {
            Then::Record => self.append_access(event, context).await.map(Some),
            Then::Open => {
                let suppressed = Suppressed { count: 1, from: context.at, to: context.at };
                let opened = self.append_access(suppressed.event(), &unnamed(context)).await;
                if opened.is_err() {
                    self.flood.not_opened();
                }
                opened.map(Some)
            }
            Then::Count => Ok(None),
        }
    }

    /// Records how many there were in a minute that is over. To be called every few seconds, and with `None` before
    /// the end, which does not wait for the minute.
    pub async fn summarise_access(&self, now: Option<DateTime<Utc>>) -> Result<(), StoreError> {
        let Some(over) = self.flood.over(now) else { return Ok(()) };
        let context = Context::bare(Actor::System, Uuid::now_v7().to_string(), over.to);
        self.close_flood(over, &context).await
    }

    async fn close_flood(&self, over: Suppressed, context: &Context) -> Result<(), StoreError> {
        let closed = self.append_access(over.event(), &unnamed(context)).await;
        if closed.is_err() {
            self.flood.give_back(over);
        }
        closed.map(drop)
    }

    async fn append_access(&self, event: AccessEvent, context: &Context) -> Result<Receipt, StoreError> {
        let id = AccessId(Uuid::now_v7());
        let nothing = Loaded::<Access>::new(id.to_string());
        let change =
            Change::new::<Access>(&self.store, id, nothing, &[event], RecordAccess::NAME, context).await?;
        match self.store.append::<Infallible>(vec![change.unremembered()], None).await {
            Ok(receipt) => Ok(receipt),
            Err(CommandError::Store(error)) => Err(error),
            Err(other) => Err(StoreError::Answer(other.to_string())),
        }
    }
}

/// The address and the account that it came from; none for what is always recorded.
fn sources(event: &AccessEvent, context: &Context) -> Option<Vec<String>> {
    let account = match event {
        AccessEvent::AccessAuditExported { .. }
        | AccessEvent::AccessTelemetryExported { .. }
        | AccessEvent::AccessSecretsExported { .. }
        | AccessEvent::AccessSuppressed { .. } => return None,
        AccessEvent::AccessSignInFailed { user_id: Some(user), .. } => Some(Actor::User(*user).to_string()),
        AccessEvent::AccessSignInFailed { email_hash, .. } => email_hash.clone(),
        AccessEvent::AccessSignatureRefused { source, .. } => Some(source.clone()),
        AccessEvent::AccessCommandDenied { .. } => match &context.actor {
            Actor::Anonymous => None,
            actor => Some(actor.to_string()),
        },
    };
    Some(context.source_ip.iter().cloned().chain(account).collect())
}

/// The platform itself, for what is about many.
fn unnamed(context: &Context) -> Context {
    Context::bare(Actor::System, context.request_id.clone(), context.at)
}
