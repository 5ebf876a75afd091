//! What is sent, made when it is sent: nothing that was erased meanwhile is in it.

use std::collections::BTreeSet;

use commands::VaultError;
use domain::endpoint::Living;
use domain::ids::UserId;
use domain::ports::email::EmailError;
use domain::ports::outbound::{Post, Signing};
use domain::sealed::{Sealed, purpose};
use domain::secret::Secret;
use projections::audit_trail;
use projections::outbox::{Message, Try};

use super::results::{self, Told};
use crate::{JobError, Work, World};

/// What came of sending.
pub(super) enum Sent {
    /// It was tried.
    Tried(Try),
    /// There is nothing to be sent any more.
    Nothing(String),
}

impl Sent {
    fn nothing(why: &str) -> Self {
        Self::Nothing(why.to_owned())
    }
}

/// The event as the API shows it, signed.
pub(super) async fn webhook(
    world: &World,
    message: &Message,
    living: &Living,
    url: &Sealed,
) -> Result<Sent, JobError> {
    let Some(row) = audit_trail::find(&world.pool, message.event).await? else {
        return Ok(Sent::nothing("the event is not there any more"));
    };
    let (now, old) = ((world.now)(), living.old_secret.as_ref());
    let old = old.filter(|(_, until)| *until > now).map(|(secret, _)| secret);
    let mut secrets = Vec::new();
    for secret in living.secret.iter().chain(old) {
        match opened(world, secret, purpose::ENDPOINT_SECRET).await? {
            Some(secret) => secrets.push(secret),
            None => return Ok(Sent::nothing("the secret was erased")),
        }
    }
    let body = world.shown.event(row).await?.to_string().into_bytes();
    let signing = Signing { id: message.event.to_string(), timestamp: now.timestamp(), secrets };
    post(world, url, body, Some(signing)).await
}

/// A result, as Slack's incoming webhooks take it.
pub(super) async fn slack(world: &World, message: &Message, url: &Sealed) -> Result<Sent, JobError> {
    match results::told(world, message).await? {
        Some(told) => post(world, url, told.for_slack().to_string().into_bytes(), None).await,
        None => Ok(Sent::nothing("what it is about is not there any more")),
    }
}

/// A result, as a mail to each of these who is a member still.
pub(super) async fn mail(
    world: &World,
    work: &Work,
    message: &Message,
    to: &BTreeSet<UserId>,
) -> Result<Sent, JobError> {
    let Some(told) = results::told(world, message).await? else {
        return Ok(Sent::nothing("what it is about is not there any more"));
    };
    let mut sent = 0;
    for user in to {
        if projections::teams::membership(&world.pool, message.team, *user).await?.is_none() {
            continue;
        }
        match letter(world, work, message, &told, *user).await? {
            Err(why @ EmailError::Later(_)) => {
                return Ok(Sent::Tried(Try { error: Some(why.to_string()), ..Try::default() }));
            }
            // It is refused for this one alone.
            Err(EmailError::Never(why)) => {
                tracing::warn!(user = %user, why, "a result was not mailed to user {user}: {why}");
            }
            Ok(false) => {}
            Ok(true) => sent += 1,
        }
    }
    match sent {
        0 => Ok(Sent::nothing("nobody of those is a member with an address")),
        _ => Ok(Sent::Tried(Try::default())),
    }
}

/// `false` when he has no address.
async fn letter(
    world: &World,
    work: &Work,
    message: &Message,
    told: &Told,
    user: UserId,
) -> Result<Result<bool, EmailError>, JobError> {
    let Some(row) = projections::users::find(&world.pool, user).await? else { return Ok(Ok(false)) };
    let to = match opened(world, &row.email, purpose::USER_EMAIL).await? {
        Some(address) => address.expose_str().unwrap_or_default().to_owned(),
        None => return Ok(Ok(false)),
    };
    if to.is_empty() {
        return Ok(Ok(false));
    }
    let mail = told.as_letter().to(to, work, &format!("{}.{user}", message.id()));
    Ok(world.email.send(&mail).await.map(|()| true))
}

async fn post(
    world: &World,
    url: &Sealed,
    body: Vec<u8>,
    signing: Option<Signing>,
) -> Result<Sent, JobError> {
    let Some(url) = opened(world, url, purpose::ENDPOINT_URL).await? else {
        return Ok(Sent::nothing("the address was erased"));
    };
    let answer = match world.outbound.post(&Post { url, body, signing }).await {
        Err(error) => return Ok(Sent::Tried(Try { error: Some(error.to_string()), ..Try::default() })),
        Ok(answer) => answer,
    };
    let error = match answer.status {
        200..=299 => None,
        300..=399 => Some(format!("it answered {}: redirects are not followed", answer.status)),
        status => Some(format!("it answered {status}")),
    };
    let is_pause = matches!(answer.status, 429 | 503);
    let pause = answer.retry_after.filter(|_| is_pause);
    Ok(Sent::Tried(Try { http_status: Some(answer.status), error, answer: Some(answer.body), pause }))
}

/// A sealed value; none when it was erased.
async fn opened(world: &World, sealed: &Sealed, purpose: &str) -> Result<Option<Secret>, JobError> {
    match world.commands.vault().open_sealed(sealed, purpose).await {
        Ok(secret) => Ok(Some(secret)),
        Err(VaultError::Erased) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
