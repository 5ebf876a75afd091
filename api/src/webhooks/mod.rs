//! `POST /api/webhooks/{provider}` — what a sign-in provider tells of the people and organizations that it keeps.
//!
//! Invariant: a delivery is answered with 2xx once all it asks for is in the log, or there is nothing to do. What comes
//! again, late or in another order does nothing that was not so.

pub(crate) mod deliveries;
pub(crate) mod inbox;
mod people;
pub(crate) mod project;
mod teams;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use commands::told::Told;
use commands::{Context, Expected, Mode};
use domain::access::AccessEvent;
use domain::envelope::Actor;
use domain::ids::TeamId;
use domain::ports::auth::Auth;
use domain::ports::news::{Change, Delivery, NewsError};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::auth::providers::find;
use crate::body::Params;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::limits::{Empty, Who};
use crate::platform::{PATIENCE, Platform};

/// Deliveries that are worked on at once: each has a connection of its own.
static SLOTS: Semaphore = Semaphore::const_new(4);

/// What became of a delivery.
enum Done {
    /// The log has something new.
    Changed,
    /// Nothing was to be done, for this reason.
    Nothing(&'static str),
}

/// What a delivery is worked on with.
struct Desk<'a> {
    platform: &'a Platform,
    provider: &'a dyn Auth,
    caller: &'a Caller,
}

impl Desk<'_> {
    /// The circumstances of a command: the provider wants it.
    fn context(&self, team_id: Option<TeamId>) -> Context {
        let actor = Actor::Process(format!("webhook-{}", self.provider.id()));
        // Deliveries are told apart by what they are about, and a command that was carried out does nothing again.
        let context = self.caller.context(team_id);
        Context { actor, key: None, mode: Mode::Append, expected: Expected::Any, ..context }
    }
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let provider = find(&platform, params.text("provider"))?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let delivery = Delivery {
        id: header("svix-id"),
        timestamp: header("svix-timestamp"),
        signatures: header("svix-signature"),
        body: &body,
    };
    let news = match provider.open_news(&delivery, caller.at()) {
        Ok(news) => news,
        Err(NewsError::Closed) => return Err(ApiError::not_found()),
        Err(NewsError::Unproved(why)) => return Err(unproved(&platform, &caller, provider.id(), why).await),
        Err(NewsError::Malformed { field, why }) => return Err(ApiError::field(field, "invalid", why)),
    };
    if caller.is_dry_run() {
        return Err(ApiError::field("dryRun", "unsupported", "is not known of webhooks"));
    }
    let desk = Desk { platform: &platform, provider: &*provider, caller: &caller };
    if let Change::Nothing(kind) = &news.change {
        tracing::debug!(provider = provider.id(), kind, "a delivery that matters to nobody");
        return Ok(answer(delivery.id, &Done::Nothing("not_of_interest")));
    }
    let is_gone = matches!(news.change, Change::PersonGone(_) | Change::OrganizationGone(_));
    let _slot = SLOTS.acquire().await;
    let told = Told::of(&platform.pool, provider.issuer(), &news.object).await?;
    if !told.is_news(news.at, is_gone) {
        return Ok(answer(delivery.id, &Done::Nothing("known")));
    }
    let done = desk.take_in(news.change).await?;
    told.note(news.at, is_gone).await?;
    if let Done::Changed = done {
        platform.feed.wait_for(projections::log::head(&platform.pool).await?, PATIENCE).await;
    }
    Ok(answer(delivery.id, &done))
}

impl Desk<'_> {
    async fn take_in(&self, change: Change) -> Result<Done, ApiError> {
        match change {
            Change::Person(identity) => self.person(&identity).await,
            Change::PersonGone(subject) => self.person_gone(&subject).await,
            Change::Organization(organization) => self.organization(&organization).await,
            Change::OrganizationGone(id) => self.organization_gone(&id).await,
            Change::Member { subject, organization, role } => {
                self.member(&subject, &organization, role).await
            }
            Change::MemberGone { subject, organization } => self.member_gone(&subject, &organization).await,
            Change::Nothing(_) => Ok(Done::Nothing("not_of_interest")),
        }
    }
}

fn answer(id: &str, done: &Done) -> Json<Value> {
    Json(match done {
        Done::Changed => json!({ "id": id, "outcome": "changed" }),
        Done::Nothing(why) => json!({ "id": id, "outcome": "nothing", "reason": why }),
    })
}

/// What it is about was not told of yet: the sender tries again, and then it was.
fn not_yet(what: &str) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "not_yet",
        format!("Nothing is known of the {what} yet: send it again."),
    )
}

/// Counts a request that proves nothing. What is proved is never counted: who sends wrong signatures from an address
/// does not keep the host away that others share it with.
fn count_refused(platform: &Platform, caller: &Caller) -> Result<(), ApiError> {
    platform.limits.take(Who::unproved(caller.ip)).map(drop).map_err(|Empty { limit, wait, .. }| {
        metrics::counter!("mastra_admin_rate_limited_total", "of" => "unproved").increment(1);
        let detail = format!("Too many requests of this address that prove nothing: {limit} a minute.");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).with_retry_after(wait)
    })
}

/// Recorded before it is told.
async fn unproved(platform: &Platform, caller: &Caller, provider: &str, why: &'static str) -> ApiError {
    if let Err(refused) = count_refused(platform, caller) {
        return refused;
    }
    let event = AccessEvent::AccessSignatureRefused { source: provider.to_owned(), reason: why.to_owned() };
    let context = Context { key: None, mode: Mode::Append, ..caller.context(None) };
    match platform.commands.access(event, &context).await {
        Ok(_) => {
            ApiError::new(StatusCode::UNAUTHORIZED, "bad_signature", format!("This proves nothing: {why}."))
        }
        Err(error) => ApiError::unrecorded(&error),
    }
}
