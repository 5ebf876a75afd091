//! `GET /events` and `GET /events/stream` — events in the order of the log, of every team and project that the caller
//! may audit.

mod reach;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use http::HeaderMap;
use projections::audit_trail::{AuditRow, Reach};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::audit::show;
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::{Caller, EVERY, Standing, while_standing};
use crate::platform::{PATIENCE, Platform};
use crate::reply::items;
use crate::sse::{self, Tail as _};

/// Events read at a time by a stream.
const BATCH: i64 = 200;
/// How long a stream waits before it looks by itself, and after the database was away.
const POLL: Duration = Duration::from_secs(1);
/// After so long a stream ends, so that who comes back is asked again who he is.
const LIFE: Duration = Duration::from_secs(15 * 60);

/// Which events.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Which {
    /// A position of the log.
    after: Option<i64>,
    /// The same, as `nextCursor` of the page before gives it.
    cursor: Option<i64>,
    /// Names of types, with commas between them.
    types: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

impl Which {
    fn types(&self) -> Result<Vec<String>, ApiError> {
        let types = self.types.as_deref().unwrap_or_default();
        let types: Vec<String> =
            types.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        if types.len() > 100 || types.iter().any(|it| it.len() > 100 || it.contains('\0')) {
            let rule = "must be at most 100 types of events, with commas between them";
            return Err(ApiError::field("types", "invalid", rule));
        }
        Ok(types)
    }
}

/// A part of the log, as somebody may see it.
struct Part {
    rows: Vec<AuditRow>,
    /// Where to go on: up to here everything was looked at, whether anything was found or not.
    seen: i64,
}

/// At most `limit` of the events after a position that the caller may see.
async fn part(
    platform: &Platform,
    caller: &Caller,
    types: &[String],
    after: i64,
    limit: i64,
) -> Result<Part, ApiError> {
    let upto = projections::audit_trail::window(&platform.pool, after).await?;
    // Rights that are older than the events would pass over what was allowed meanwhile. While they are, nothing is.
    if upto == after || !platform.feed.wait_for(upto, PATIENCE).await {
        return Ok(Part { rows: vec![], seen: after });
    }
    let reach = reach::of(platform, caller).await?;
    let rows = projections::audit_trail::between(&platform.pool, &reach, types, (after, upto), limit).await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|found| found >= limit);
    let seen = rows.last().filter(|_| is_full).map_or(upto, |row| row.position);
    Ok(Part { rows, seen })
}

/// At most `limit` of the events after a position. `nextCursor` is where to go on when there may be more.
pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let (limit, types) = (which.limit.unwrap_or(50), which.types()?);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let mut seen = which.cursor.or(which.after).unwrap_or(0);
    let (mut views, mut left) = (Vec::new(), limit);
    while left > 0 {
        let part = part(&platform, &caller, &types, seen, left).await?;
        if part.seen == seen {
            return Ok(items(views, None));
        }
        (seen, left) = (part.seen, left - i64::try_from(part.rows.len()).unwrap_or(left));
        for row in part.rows {
            views.push(show(&platform, row).await?.to_json());
        }
    }
    Ok(items(views, Some(seen.to_string())))
}

/// Events as they come, after `Last-Event-ID`, or `after`, or from the first.
pub(crate) async fn stream(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = match headers.get("last-event-id") {
        None => which.after.unwrap_or(0),
        Some(id) => id.to_str().ok().and_then(|id| id.parse().ok()).ok_or_else(|| {
            ApiError::field("Last-Event-ID", "invalid", "must be the id of an earlier event")
        })?,
    };
    // Refused now rather than in the middle of an answer.
    let reach = reach::of(&platform, &caller).await?;
    let lost = lost(platform.clone(), caller.clone(), reach);
    let tail =
        Tail { moved: platform.feed.moved("audit_trail"), types: which.types()?, platform, caller, after };
    Ok(sse::answer(while_standing(lost, tail.events_for(LIFE, "events follow"), || None)))
}

/// Ends when the caller is signed out, or may no longer see all that he saw when he began: he comes back and is told
/// what he may see now.
async fn lost(platform: Arc<Platform>, caller: Caller, began: Reach) {
    let standing = Standing::of(&caller);
    loop {
        tokio::time::sleep(EVERY).await;
        if matches!(standing.holds(&platform).await, Ok(false)) {
            return;
        }
        if matches!(reach::of(&platform, &caller).await, Ok(reach) if !reach.covers(&began)) {
            return;
        }
    }
}

/// Somebody who follows.
struct Tail {
    platform: Arc<Platform>,
    caller: Caller,
    types: Vec<String>,
    after: i64,
    moved: watch::Receiver<i64>,
}

impl sse::Tail for Tail {
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            self.moved.mark_unchanged();
            match self.read().await {
                Ok(events) if !events.is_empty() => return Some(events),
                Ok(_) => {}
                // It goes on where it was as soon as it can.
                Err(error) => tracing::debug!(?error, "a stream of events waits"),
            }
            let _ = tokio::time::timeout(POLL, self.moved.changed()).await;
        }
    }
}

impl Tail {
    /// What the caller may see now, which may be less than when the stream began.
    async fn read(&mut self) -> Result<Vec<Event>, ApiError> {
        let Part { rows, seen } = part(&self.platform, &self.caller, &self.types, self.after, BATCH).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            events.push(self.event(row).await?);
        }
        if events.is_empty() && seen > self.after {
            // Nothing for this caller: who comes back need not look at it again.
            events.push(Event::default().id(seen.to_string()));
        }
        self.after = seen;
        Ok(events)
    }

    async fn event(&self, row: AuditRow) -> Result<Event, ApiError> {
        let id = row.position.to_string();
        let data = show(&self.platform, row).await?.to_json().to_string();
        Ok(Event::default().id(id).data(data))
    }
}
