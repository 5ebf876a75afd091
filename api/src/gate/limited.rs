//! Requests are counted where they pass: by address before anything else, by who asks once that is known, by team once
//! it is known what about.

use axum::response::Response;
use http::{HeaderName, StatusCode};

use super::Principal;
use super::denied::Seen;
use crate::error::ApiError;
use crate::limits::{Empty, Who};
use crate::platform::Platform;

/// Only what begins like this is limited, telemetry of either form among it: health, metrics and documents are not.
const LIMITED: [&str; 3] = ["/api/v1/", "/v1/", "/projects/"];

const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

impl Seen {
    /// Counts a request of an address.
    pub(super) fn count_address(&self, platform: &Platform) -> Result<(), ApiError> {
        self.ip.map_or(Ok(()), |ip| self.count(platform, Who::address(ip)))
    }

    /// Counts a request of who asks: of the token, and of the person.
    pub(super) fn count_principal(&self, platform: &Platform, principal: &Principal) -> Result<(), ApiError> {
        match principal {
            Principal::Nobody => Ok(()),
            Principal::Session { user, .. } | Principal::ProviderToken { user } => {
                self.count(platform, Who::User(*user))
            }
            Principal::PersonalToken { token, user, .. } => {
                self.count(platform, Who::Token(*token))?;
                self.count(platform, Who::User(*user))
            }
            Principal::ProjectToken { token, .. } => self.count(platform, Who::Token(*token)),
            Principal::Deployment { deployment, .. } => self.count(platform, Who::Deployment(*deployment)),
        }
    }

    /// Counts a request about something of a team.
    pub(super) fn count_team(&self, platform: &Platform) -> Result<(), ApiError> {
        self.about.place.get().map_or(Ok(()), |place| self.count(platform, Who::Team(place.team_id)))
    }

    fn count(&self, platform: &Platform, who: Who) -> Result<(), ApiError> {
        if !LIMITED.iter().any(|begin| self.route.starts_with(begin)) {
            return Ok(());
        }
        let mut tightest = self.room.lock().expect("no holder panics");
        match platform.limits.take(who) {
            Ok(room) => {
                *tightest = match (room, *tightest) {
                    (Some(room), Some(known)) if known.is_tighter(room) => Some(known),
                    (None, known) => known,
                    (room, _) => room,
                };
                Ok(())
            }
            Err(Empty { limit, wait, is_first }) => {
                *tightest = Some(crate::limits::Room { limit, remaining: 0 });
                metrics::counter!("mastra_admin_rate_limited_total", "of" => who.kind()).increment(1);
                if is_first {
                    let _ = self.for_the_record.set(());
                }
                let detail = format!("Too many requests of this {}: {limit} a minute.", who.kind());
                Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
                    .with_retry_after(wait))
            }
        }
    }

    /// Says what is left in the tightest bucket.
    pub(super) fn tell_room(&self, response: &mut Response) {
        let Some(room) = *self.room.lock().expect("no holder panics") else { return };
        let values = [room.limit.into(), room.remaining.into(), room.reset()];
        for (name, value) in HEADERS.into_iter().zip::<[u64; 3]>(values) {
            response.headers_mut().insert(name, value.into());
        }
    }
}
