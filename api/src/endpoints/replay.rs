//! `POST /endpoints/{endpoint}/replay` — what has happened is sent, as if the endpoint had been there.

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use domain::endpoint::EndpointCommand;
use http::StatusCode;
use projections::endpoints::EndpointRow;
use projections::log;
use serde::Deserialize;

use super::settings::must_see_events;
use super::write::changed;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

/// From when to when, or from which position to which. The end is now when absent.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplayEndpoint {
    /// The first moment.
    from: Option<DateTime<Utc>>,
    /// The last moment.
    to: Option<DateTime<Utc>>,
    /// The position after which it begins.
    #[schema(minimum = 0)]
    after: Option<i64>,
    /// The last position.
    #[schema(minimum = 0)]
    upto: Option<i64>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
    Body(range): Body<ReplayEndpoint>,
) -> Result<Done, ApiError> {
    must_see_events(&platform, &endpoint, endpoint.it.settings.target.kind()).await?;
    let head = log::head(&platform.pool).await?;
    let after = match (range.from, range.after) {
        (Some(from), None) => {
            let before = from.checked_sub_signed(TimeDelta::microseconds(1)).unwrap_or(from);
            log::position_at(&platform.pool, before).await?
        }
        (None, Some(after)) if after >= 0 => after,
        (None, Some(_)) => return Err(ApiError::field("after", "out_of_range", "must be 0 or more")),
        (None, None) => return Err(ApiError::field("from", "required", "must be there, or after")),
        (Some(_), Some(_)) => return Err(ApiError::field("after", "too_many", "must not stand beside from")),
    };
    let upto = match (range.to, range.upto) {
        (None, None) => head,
        (Some(to), None) => log::position_at(&platform.pool, to).await?,
        (None, Some(upto)) => upto.min(head),
        (Some(_), Some(_)) => return Err(ApiError::field("upto", "too_many", "must not stand beside to")),
    };
    if after >= upto {
        let field = if range.to.is_some() { "to" } else { "upto" };
        return Err(ApiError::field(field, "out_of_range", "must be after the beginning"));
    }
    let command = EndpointCommand::RequestReplay { after, upto };
    let receipt = platform.commands.endpoint(endpoint.it.id, command, &endpoint.context()).await?;
    changed(&platform, StatusCode::ACCEPTED, receipt, endpoint.it.id).await
}
