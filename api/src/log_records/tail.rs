//! `GET /api/v1/projects/{project}/logs/stream`: lines as they come, as server-sent events.
//!
//! A line comes when its sender sends it, some time after it was logged. So the last minute is looked at again and again,
//! and what was not there before is shown: whichever server took it in, and whatever store it is in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    LogFilter, LogPlace, LogRecord, PAGE_BYTES, TelemetryError, Tenant, Weighs, may_go_on,
};
use http::{HeaderMap, StatusCode};
use projections::projects::ProjectRow;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::list::{self, Wanted};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::{Scoped, while_standing};
use crate::platform::Platform;
use crate::sse::{self, Tail as _};
use crate::traces::tenant;

/// How often it looks for lines.
const EVERY: Duration = Duration::from_millis(400);
/// Every so many looks are through all of the last minute.
const WHOLE: u32 = 8;
/// So many may follow one server process: each look takes a reader of the store.
static SEATS: Semaphore = Semaphore::const_new(64);
/// How long after it was logged a line may come and still be shown.
const LATE: TimeDelta = TimeDelta::seconds(60);
/// How far back who was cut off is shown what he missed.
const BACK: TimeDelta = TimeDelta::hours(1);
/// Lines a question.
const PAGE: usize = 200;
/// Lines that are shown of one look, the newest; older ones are counted.
const SHOWN: usize = 1_000;
/// Lines that one look reads; what is before them is not even counted.
const READ: usize = 5_000;
/// Lines that are remembered.
const REMEMBERED: usize = 20_000;
/// How long a stream lasts; a browser comes back.
const LIFE: Duration = Duration::from_secs(3600);

/// Which lines. All that is given must hold.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(rename_all = "camelCase")]
pub(crate) struct Followed {
    /// How much it matters at least: `trace`, `debug`, `info`, `warn`, `error`, `fatal`.
    level: Option<String>,
    /// What it contains, in any case of letters.
    text: Option<String>,
    /// The trace it was logged in.
    trace_id: Option<String>,
    /// Where it came from.
    #[param(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
}

/// Lines from now on, or after `Last-Event-ID`: `log`, and `gap` with how many were `missed` where there were too many.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(Followed { level, text, trace_id, deployment_id }): Query<Followed>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let filter = list::filter(Wanted { level, text, trace_id, deployment_id, ..Wanted::default() })?;
    let last = headers.get("last-event-id").map(|id| {
        let place = id.to_str().ok().and_then(list::place_of);
        place.ok_or_else(|| ApiError::field("Last-Event-ID", "invalid", "must be the id of an earlier event"))
    });
    let (watched, now) = (platform.clone(), (platform.now)());
    let last = last.transpose()?;
    let seat = SEATS.try_acquire().map_err(|_| {
        let detail = "Too many follow lines at the moment.";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail).with_retry_after(10)
    })?;
    let mut tail = Tail {
        tenant: tenant(&project),
        platform,
        filter,
        seen: Seen::new(last, now),
        looks: 0,
        _seat: seat,
        latest: last,
    };
    if tail.seen.after.is_none() {
        // What is there now is not new.
        tail.look().await.map_err(ApiError::from)?;
    }
    let lost = project.standing().lost(watched);
    Ok(sse::answer(while_standing(lost, tail.events_for(LIFE, "lines follow"), || None)))
}

/// Somebody who follows.
struct Tail {
    platform: Arc<Platform>,
    tenant: Tenant,
    filter: LogFilter,
    seen: Seen,
    looks: u32,
    _seat: SemaphorePermit<'static>,
    /// The latest line that was shown.
    latest: Option<LogPlace>,
}

/// What one look found.
#[derive(Debug, Default)]
struct Found {
    /// New lines, the oldest first.
    lines: Vec<LogRecord>,
    /// Bytes of these.
    bytes: usize,
    /// New lines before them, which are too many to be shown.
    missed: usize,
    /// Whether there may be still more before those.
    or_more: bool,
}

impl sse::Tail for Tail {
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let began = Instant::now();
            match self.look().await {
                Ok(found) if !found.lines.is_empty() => return Some(self.events_of(&found)),
                Ok(_) => {}
                // It goes on where it was as soon as it can.
                Err(error) => tracing::debug!(%error, "a stream of lines waits"),
            }
            // A store that is slow has others to answer, too.
            tokio::time::sleep(EVERY.max(began.elapsed() * 2)).await;
        }
    }
}

impl Tail {
    /// Looks until nothing new is found, the newest first; now and then through all of the last minute, for what came
    /// late behind others.
    async fn look(&mut self) -> Result<Found, TelemetryError> {
        let (now, is_whole) = ((self.platform.now)(), self.looks.is_multiple_of(WHOLE));
        let mut filter = LogFilter { limit: i64::try_from(PAGE).expect("it fits"), ..self.filter.clone() };
        filter.period.from = Some(self.seen.floor);
        let (mut found, mut old, mut read) = (Found::default(), Vec::new(), 0);
        loop {
            let page = self.platform.signals.logs(self.tenant, &filter).await?;
            let is_last = !may_go_on(&page, filter.limit);
            (read, filter.after) = (read + page.len(), page.last().map(LogRecord::place));
            let (new, known): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|line| self.seen.is_new(line.place()));
            old.extend(known.iter().map(LogRecord::place));
            let is_all = is_last || new.is_empty() && !is_whole;
            found.take(new);
            if is_all || read >= READ {
                found.or_more = !is_all;
                break;
            }
        }
        if found.missed > 0 {
            // What was passed over is over.
            let oldest = found.lines.last().map(|line| line.at + TimeDelta::microseconds(1));
            self.seen.floor = oldest.unwrap_or(self.seen.floor);
        }
        found.lines.reverse();
        self.seen.add(found.lines.iter().map(LogRecord::place).chain(old));
        self.seen.forget(now);
        self.looks += 1;
        Ok(found)
    }

    /// Their ids are of the latest line until then: who comes back is shown what is after it.
    fn events_of(&mut self, found: &Found) -> Vec<Event> {
        let gap = json!({ "missed": found.missed, "orMore": found.or_more });
        let gap = (found.missed > 0).then(|| Event::default().event("gap").data(gap.to_string()));
        let mut events = Vec::from_iter(gap);
        for line in &found.lines {
            let latest = self.latest.map_or(line.place(), |latest| latest.max(line.place()));
            self.latest = Some(latest);
            let data = json!(list::view(line)).to_string();
            events.push(Event::default().event("log").id(list::cursor_of(latest)).data(data));
        }
        events
    }
}

impl Found {
    /// Older lines than those before.
    fn take(&mut self, lines: Vec<LogRecord>) {
        for line in lines {
            // What was too much once is over: nothing older is shown.
            match self.missed == 0 && self.lines.len() < SHOWN && self.bytes < PAGE_BYTES {
                true => {
                    self.bytes += line.weight();
                    self.lines.push(line);
                }
                false => self.missed += 1,
            }
        }
    }
}

/// Lines that were there before.
#[derive(Debug)]
struct Seen {
    places: BTreeSet<LogPlace>,
    /// Whatever was logged before is not looked at any more.
    floor: DateTime<Utc>,
    /// Who was cut off has seen what stands before this.
    after: Option<LogPlace>,
}

impl Seen {
    fn new(after: Option<LogPlace>, now: DateTime<Utc>) -> Self {
        let floor = after.map_or(now - LATE, |last| last.at.clamp(now - BACK, now));
        Self { places: BTreeSet::new(), floor, after }
    }

    fn is_new(&self, place: LogPlace) -> bool {
        self.after.is_none_or(|last| place > last) && !self.places.contains(&place)
    }

    fn add(&mut self, places: impl Iterator<Item = LogPlace>) {
        self.places.extend(places);
        self.after = None;
        while self.places.len() > REMEMBERED
            && let Some(oldest) = self.places.pop_first()
        {
            self.floor = self.floor.max(oldest.at + TimeDelta::microseconds(1));
        }
    }

    /// Forgets what is not looked at any more, after a look that saw all until this moment.
    fn forget(&mut self, now: DateTime<Utc>) {
        self.floor = self.floor.max(now - LATE);
        while self.places.first().is_some_and(|oldest| oldest.at < self.floor) {
            self.places.pop_first();
        }
    }
}
