//! Output of builds and servers: whole, or live as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use domain::ids::EventId;
use domain::ports::logs::{LogError, LogLine, LogSource};
use futures_util::stream;
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::json;

use crate::error::ApiError;
use crate::gate::{Standing, while_standing};
use crate::platform::Platform;
use crate::sse::{self, Tail as _};

/// Lines read at a time.
const BATCH: i64 = 500;
/// How often a live stream looks whether the build or deployment is over.
const STATUS: Duration = Duration::from_millis(500);

/// All lines: text, or JSON lines for who accepts `application/x-ndjson`. Read and sent in batches.
pub(crate) async fn whole(
    platform: &Arc<Platform>,
    source: LogSource,
    standing: Standing,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let as_json = accept.contains("application/x-ndjson");
    let cause = Cause::of(platform, source).await?;
    let first = platform.logs.read(source, 0, BATCH).await?;
    let (watched, platform) = (platform.clone(), platform.clone());
    let batches = stream::unfold(Some(first), move |batch| {
        let (platform, cause) = (platform.clone(), cause.clone());
        async move {
            let lines = batch.filter(|lines| !lines.is_empty())?;
            let last = lines.last().map_or(0, |line| line.seq);
            let next = platform.logs.read(source, last, BATCH).await;
            let text: String = lines.iter().map(|line| render(line, &cause, as_json)).collect();
            // A store that goes away in the middle cuts the answer instead of pretending an end.
            match next {
                Ok(next) => Some((Ok(text), Some(next))),
                Err(error) => Some((Err(error), None)),
            }
        }
    });
    let batches = while_standing(standing.lost(watched), batches, || {
        Some(Err(LogError("the right to read it was lost".into())))
    });
    let kind = if as_json { "application/x-ndjson" } else { "text/plain; charset=utf-8" };
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(batches)).into_response())
}

fn render(line: &LogLine, cause: &Cause, as_json: bool) -> String {
    if as_json { format!("{}\n", cause.json(line)) } else { format!("{}\n", line.text) }
}

/// What joins lines to the events that led to them: `GET /causation/{causationId}` shows these.
#[derive(Clone)]
struct Cause {
    causation: Option<EventId>,
    correlation: Option<String>,
}

impl Cause {
    /// The event that began the build or deployment, and its first cause.
    async fn of(platform: &Platform, source: LogSource) -> Result<Self, ApiError> {
        let (kind, id) = match source {
            LogSource::Build(id) => ("build", id.0),
            LogSource::Deployment(id) => ("deployment", id.0),
        };
        let beginning = projections::audit_trail::beginning(&platform.pool, kind, id).await?;
        let (causation, correlation) = beginning.unzip();
        Ok(Self { causation, correlation })
    }

    fn json(&self, line: &LogLine) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Joined<'a> {
            #[serde(flatten)]
            line: &'a LogLine,
            causation_id: Option<EventId>,
            correlation_id: Option<&'a str>,
        }
        let correlation_id = self.correlation.as_deref();
        serde_json::to_string(&Joined { line, causation_id: self.causation, correlation_id })
            .expect("a line serialises")
    }
}

/// Lines as they come, after `Last-Event-ID`; `status` when it changes; `end` when nothing follows.
pub(crate) async fn live(
    platform: Arc<Platform>,
    source: LogSource,
    standing: Standing,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let after = match headers.get("last-event-id").and_then(|id| id.to_str().ok()) {
        None => 0,
        Some(id) => {
            let number = id.parse().ok().filter(|number| *number >= 0);
            number.ok_or_else(|| {
                ApiError::field("Last-Event-ID", "invalid", "must be the id of an earlier event")
            })?
        }
    };
    let cause = Cause::of(&platform, source).await?;
    let watched = platform.clone();
    let moved = platform.logs.follow(source);
    let tail = Tail { moved, platform, source, cause, after, status: None, ended: false };
    Ok(sse::answer(while_standing(standing.lost(watched), tail.events("lines follow"), || None)))
}

/// Somebody who follows a source.
struct Tail {
    platform: Arc<Platform>,
    source: LogSource,
    cause: Cause,
    moved: tokio::sync::watch::Receiver<i64>,
    after: i64,
    status: Option<String>,
    ended: bool,
}

impl sse::Tail for Tail {
    async fn next(&mut self) -> Option<Vec<Event>> {
        if self.ended { None } else { Some(self.more().await) }
    }
}

impl Tail {
    /// Waits until there is something to say.
    async fn more(&mut self) -> Vec<Event> {
        loop {
            // The status first: what is over now has written all its lines before.
            let (status, over) = self.now().await;
            self.moved.mark_unchanged();
            let lines = self.platform.logs.read(self.source, self.after, BATCH).await.unwrap_or_default();
            let mut events: Vec<Event> = lines.iter().map(|line| self.line(line)).collect();
            if let Some(last) = lines.last() {
                self.after = last.seq;
            }
            if self.status != status {
                let data = json!({ "status": status }).to_string();
                events.push(Event::default().event("status").data(data));
                self.status = status.clone();
            }
            if over && lines.is_empty() {
                events.push(Event::default().event("end").data(json!({ "status": status }).to_string()));
                self.ended = true;
            }
            if !events.is_empty() {
                return events;
            }
            let _ = tokio::time::timeout(STATUS, self.moved.changed()).await;
        }
    }

    fn line(&self, line: &LogLine) -> Event {
        Event::default().event("log").id(line.seq.to_string()).data(self.cause.json(line))
    }

    /// The status, and whether nothing more will be written.
    async fn now(&self) -> (Option<String>, bool) {
        let pool = &self.platform.pool;
        let row = match self.source {
            LogSource::Build(id) => projections::builds::find(pool, id)
                .await
                .ok()
                .flatten()
                .map(|row| (row.status, row.finished_at)),
            LogSource::Deployment(id) => projections::deployments::find(pool, id)
                .await
                .ok()
                .flatten()
                .map(|row| (row.status, row.finished_at)),
        };
        match row {
            Some((status, finished)) => (Some(status), finished.is_some()),
            // A table that cannot be read is no end.
            None => (self.status.clone(), false),
        }
    }
}
