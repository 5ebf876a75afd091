//! `GET …/deploys/{build}/logs/stream` — what a build says, then what its server says, each line as an event of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use domain::ports::logs::LogSource;
use futures_util::stream::{self, Stream};
use projections::builds::BuildRow;

use super::status;
use crate::error::ApiError;
use crate::gate::{Scoped, while_standing};
use crate::platform::Platform;
use crate::sse;

/// Lines read at a time.
const BATCH: i64 = 500;

/// How often it looks whether there is more.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn stream(
    State(platform): State<Arc<Platform>>,
    build: Scoped<BuildRow>,
) -> Result<Response, ApiError> {
    let (standing, watched) = (build.standing(), platform.clone());
    let tail = Tail {
        platform,
        build: build.it.clone(),
        source: LogSource::Build(build.it.id),
        after: 0,
        waiting: VecDeque::new(),
    };
    let events = while_standing(standing.lost(watched), tail.events(), || None);
    Ok(sse::answer(events))
}

/// Somebody who follows a deploy.
struct Tail {
    platform: Arc<Platform>,
    build: BuildRow,
    source: LogSource,
    after: i64,
    waiting: VecDeque<String>,
}

impl Tail {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut tail| async move {
            let line = tail.next().await?;
            Some((Ok(Event::default().data(line)), tail))
        })
    }

    /// The next line; none when nothing follows.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            let mut moved = self.platform.logs.follow(self.source);
            moved.mark_unchanged();
            // Where it goes on first: what is over now has written all its lines before.
            let next = self.next_source().await;
            let lines = self.platform.logs.read(self.source, self.after, BATCH).await.unwrap_or_default();
            if let Some(last) = lines.last() {
                self.after = last.seq;
                self.waiting.extend(lines.into_iter().map(|line| line.text.replace(['\r', '\n'], " ")));
                continue;
            }
            match next {
                Next::Stay => drop(tokio::time::timeout(PAUSE, moved.changed()).await),
                Next::Go(source) => (self.source, self.after) = (source, 0),
                Next::End => return None,
            }
        }
    }

    /// What comes after what is read now. A table that cannot be read is no end.
    async fn next_source(&mut self) -> Next {
        let pool = &self.platform.pool;
        if let Ok(Some(build)) = projections::builds::find(pool, self.build.id).await {
            self.build = build;
        }
        let Ok(mut deployments) = projections::deployments::newest_of(pool, &[self.build.id]).await else {
            return Next::Stay;
        };
        let deployment = deployments.pop();
        let is_settled = status::is_settled(status::view(&self.build, deployment.as_ref()).status);
        match (self.source, deployment) {
            (LogSource::Build(_), Some(deployment)) => Next::Go(LogSource::Deployment(deployment.id)),
            _ if is_settled => Next::End,
            _ => Next::Stay,
        }
    }
}

/// Where a log goes on.
enum Next {
    Stay,
    Go(LogSource),
    End,
}
