//! `?asOf=`: what a request sees when it asks about the past.

use chrono::{DateTime, Utc};
use http::request::Parts;
use projections::log;
use projections::past::{Origin, PastError, Then, Thing, View};

use super::parameters;
use super::scope::Question;
use super::search::find_team;
use crate::body::Params;
use crate::error::ApiError;
use crate::gate::Needs;
use crate::platform::Platform;

/// The moment that a request asks about; none when it asks about now. `supported` says whether its route knows
/// the past.
pub(super) async fn asked(
    platform: &Platform,
    parts: &Parts,
    supported: bool,
) -> Result<Option<Then>, ApiError> {
    let mut asked = parameters(parts, "asOf");
    let Some(text) = asked.next() else { return Ok(None) };
    if !supported {
        // The present is no answer to a question about the past.
        return Err(ApiError::field("asOf", "not_supported", "is not understood here"));
    }
    if asked.next().is_some() {
        return Err(ApiError::field("asOf", "duplicate_field", "stands there more than once"));
    }
    moment(platform, "asOf", &text).await.map(Some)
}

/// A moment of the log, as a time or a position.
pub(crate) async fn moment(platform: &Platform, field: &'static str, text: &str) -> Result<Then, ApiError> {
    let beyond = || ApiError::field(field, "in_the_future", "must not lie beyond the end of the log");
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits {
        let position: i64 = text.parse().map_err(|_| beyond())?;
        if position == 0 {
            return Err(ApiError::field(field, "out_of_range", "must be at least 1, the first position"));
        }
        let at = log::recorded_at(&platform.pool, position).await?.ok_or_else(beyond)?;
        return Ok(Then { position, at });
    }
    let at = time(text).ok_or_else(|| {
        let text = "must be a time like 2026-01-31T12:00:00Z or a position of the log like 42";
        ApiError::field(field, "invalid", text)
    })?;
    if at > (platform.now)() {
        return Err(beyond());
    }
    Ok(Then { position: log::position_at(&platform.pool, at).await?, at })
}

/// RFC 3339. A plus sign that was not encoded has become a space.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let parsed = DateTime::parse_from_rfc3339(text);
    let parsed = parsed.or_else(|_| DateTime::parse_from_rfc3339(&text.replace(' ', "+")));
    Some(parsed.ok()?.to_utc())
}

/// What the request is about as it was then, when the caller may see it now. What has gone since is found by where
/// it was.
pub(super) async fn open(
    platform: &Platform,
    ask: &Question<'_>,
    needs: Needs,
    params: &Params,
    then: Then,
    all: &'static [&'static str],
) -> Result<(Origin, View), ApiError> {
    let thing = match needs {
        Needs::Public
        | Needs::SignedIn
        | Needs::Credential
        | Needs::Sender
        | Needs::ClosedTeam(..)
        | Needs::Event(..)
        | Needs::NamedTeam(..)
        | Needs::TeamPart(..)
        | Needs::Cause(..)
        | Needs::Role(..)
        | Needs::Installation(..)
        | Needs::Endpoint(..)
        | Needs::Assignment(..)
        | Needs::Given(..) => {
            return Err(ApiError::not_found());
        }
        Needs::Team(..) | Needs::TeamOrSelf(..) => match params.text("team").parse() {
            Ok(id) => Thing::Team(id),
            // A name is that of now: another team may have had it then.
            Err(_) => Thing::Team(find_team(platform, params.text("team")).await?.id),
        },
        Needs::Project(..) | Needs::AnyProject(..) => Thing::Project(params.id("project")?),
        Needs::Environment(..) => Thing::Environment(params.id("environment")?),
        Needs::Build(..) => Thing::Build(params.id("build")?),
        Needs::Deployment(..) => Thing::Deployment(params.id("deployment")?),
    };
    let origin = origin(platform, thing).await?;
    ask.permits(origin.team_id, origin.project_id)?;
    let view = platform.archive.open(origin.clone().extent(all), then).await?;
    Ok((origin, view))
}

/// Where something belongs, or belonged; that of a team which is closed now has no past either.
pub(super) async fn origin(platform: &Platform, thing: Thing) -> Result<Origin, ApiError> {
    let origin = Origin::find(&platform.pool, thing).await?.ok_or_else(ApiError::not_found)?;
    if projections::teams::is_closed(&platform.pool, origin.team_id).await? {
        return Err(ApiError::not_found());
    }
    Ok(origin)
}

impl From<PastError> for ApiError {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Busy | PastError::TooLong => {
                tracing::warn!(%error, "the past was not shown: {error}");
                Self::unavailable()
            }
            PastError::Database(error) => error.into(),
            error @ PastError::Unreadable(_) => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_any_zone_also_when_its_plus_was_lost() {
        let noon = time("2026-01-31T12:00:00Z");
        assert!(noon.is_some());
        assert_eq!(time("2026-01-31T13:00:00+01:00"), noon);
        assert_eq!(time("2026-01-31T13:00:00 01:00"), noon);
        for odd in ["", "yesterday", "-1", "1.5", "2026-01-31", "2026-13-01T00:00:00Z"] {
            assert_eq!(time(odd), None, "{odd}");
        }
    }
}
