//! Telemetry as a file, a line of JSON a row, of any length, newest first.
//!
//! It is read page by page, each a question of its own: memory holds one page, and who stops reading is not read for any
//! more. The last line says how many rows there were: a file without it is not whole.

mod logs;
mod scores;
mod spans;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::access::{AccessEvent, TelemetrySignal};
use domain::ids::ProjectId;
use domain::ports::telemetry::{Period, TelemetryError};
use futures_util::{TryStreamExt, stream};
use http::{StatusCode, header};
use projections::projects::ProjectRow;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ApiError;
use crate::gate::{Scoped, while_standing};
use crate::platform::Platform;

pub(crate) use logs::handler as logs;
pub(crate) use scores::handler as scores;
pub(crate) use spans::handler as spans;

/// Rows a question.
const PAGE: i64 = 1000;
/// How often a store that has enough to do is asked again, each after a pause.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_secs(1);
/// So many may be under way in one server process: each holds a page.
static SEATS: Semaphore = Semaphore::const_new(8);
/// So many of these are one project's: who reads slowly holds up no other project.
const OF_A_PROJECT: usize = 2;
static TAKEN: Mutex<BTreeMap<ProjectId, usize>> = Mutex::new(BTreeMap::new());

/// What is exported.
trait Source: Send + Sized + 'static {
    /// Its name.
    const SIGNAL: TelemetrySignal;

    /// The next lines and how many they are; the last when it says so.
    fn page(&mut self, platform: &Platform) -> impl Future<Output = Result<Lines, TelemetryError>> + Send;
}

/// Some lines.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
    is_last: bool,
}

impl Lines {
    fn of(rows: impl Iterator<Item = impl Serialize>, is_last: bool) -> Self {
        let mut lines = Self { is_last, ..Self::default() };
        for row in rows {
            serde_json::to_writer(&mut lines.text, &row).expect("a row is plain JSON");
            lines.text.push(b'\n');
            lines.count += 1;
        }
        lines
    }
}

/// What an export was narrowed to: when, and by which other parameters, without what these say.
struct Narrowed {
    period: Period,
    by: Vec<&'static str>,
}

/// Names of the parameters that were given.
fn given(all: &[(&'static str, bool)]) -> Vec<&'static str> {
    all.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect()
}

/// An export is all there is: who asks for a part of a list means something else.
fn whole(all: &[(&'static str, bool)]) -> Result<(), ApiError> {
    match given(all).first() {
        Some(name) => Err(ApiError::field(*name, "invalid", "must not be given: an export has no pages")),
        None => Ok(()),
    }
}

/// An export that has begun: clocks of senders may be ahead, but no row is from later than the store takes in now.
fn until(platform: &Platform, mut period: Period, now: DateTime<Utc>) -> Period {
    let last = *platform.telemetry.window(now).end();
    period.to = Some(period.to.map_or(last, |to| to.min(last)));
    period
}

/// Recorded before the first byte.
async fn export<S: Source>(
    platform: Arc<Platform>,
    project: &Scoped<ProjectRow>,
    Narrowed { period, by }: Narrowed,
    source: S,
) -> Result<Response, ApiError> {
    let seat = Seat::take(project.it.id).ok_or_else(|| {
        let detail = "Too many exports are under way.";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_exports", detail).with_retry_after(30)
    })?;
    let event = AccessEvent::AccessTelemetryExported {
        team_id: project.team_id,
        project_id: project.it.id,
        signal: S::SIGNAL,
        from: period.from,
        to: period.to,
        filters: by.into_iter().map(str::to_owned).collect(),
    };
    let recorded = platform.commands.access(event, &project.context()).await;
    recorded.map_err(|error| ApiError::unrecorded(&error))?.ok_or_else(ApiError::unavailable)?;
    let at = project.caller().at().format("%Y%m%dT%H%M%SZ");
    let file = format!("attachment; filename=\"{}-{}-{at}.ndjson\"", S::SIGNAL.as_str(), project.it.id);
    let (watched, standing) = (platform.clone(), project.standing());
    let rest = Rest { platform, source, rows: 0, is_over: false, _seat: seat };
    let body = Body::from_stream(while_standing(
        standing.lost(watched),
        stream::try_unfold(rest, Rest::next).map_err(|_: ApiError| cut_short("the export was cut short")),
        || Some(Err(cut_short("the right to export was lost"))),
    ));
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (header::CONTENT_DISPOSITION, file),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}

/// What is left of an export.
struct Rest<S> {
    platform: Arc<Platform>,
    source: S,
    rows: u64,
    is_over: bool,
    _seat: Seat,
}

/// Room for one export.
struct Seat {
    project: ProjectId,
    _one: SemaphorePermit<'static>,
}

impl Seat {
    /// One of a project, if there is one left for it.
    fn take(project: ProjectId) -> Option<Self> {
        let one = SEATS.try_acquire().ok()?;
        let mut taken = taken();
        let own = taken.entry(project).or_default();
        if *own == OF_A_PROJECT {
            return None;
        }
        *own += 1;
        Some(Self { project, _one: one })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = taken();
        let left = taken.get(&self.project).map_or(0, |own| own.saturating_sub(1));
        match left {
            0 => taken.remove(&self.project),
            left => taken.insert(self.project, left),
        };
    }
}

/// Nothing is left half done where a panic could strike.
fn taken() -> MutexGuard<'static, BTreeMap<ProjectId, usize>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Source> Rest<S> {
    /// A page of lines. An error cuts the answer instead of pretending an end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ApiError> {
        if self.is_over {
            return Ok(None);
        }
        let mut lines = self.page().await?;
        self.rows += lines.count;
        self.is_over = lines.is_last;
        if self.is_over {
            lines.text.extend(json!({ "end": { "rows": self.rows } }).to_string().bytes());
            lines.text.push(b'\n');
        }
        Ok(Some((lines.text.into(), self)))
    }

    /// The next lines. A store that has enough to do is asked again: a file that was begun is worth waiting for.
    async fn page(&mut self) -> Result<Lines, ApiError> {
        for _ in 0..TRIES {
            match self.source.page(&self.platform).await {
                Err(TelemetryError::Busy) => tokio::time::sleep(PAUSE).await,
                done => return Ok(done?),
            }
        }
        Ok(self.source.page(&self.platform).await?)
    }
}

/// The rest could not be read. Why was logged; the client sees a broken transfer.
fn cut_short(why: &'static str) -> std::io::Error {
    std::io::Error::other(why)
}
