//! Server-sent events: what somebody follows until it ends, or he may follow it no more.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};

/// How long a browser waits before it comes back.
const RETRY: Duration = Duration::from_secs(2);
/// How often silence is broken, so that nobody between takes the connection for dead.
const PING: Duration = Duration::from_secs(15);

/// Somebody who follows.
pub(crate) trait Tail: Send + Sized + 'static {
    /// Waits until there is something to say; none when nothing follows.
    fn next(&mut self) -> impl Future<Output = Option<Vec<Event>>> + Send;

    /// All that there is to say in so much time, after a greeting. Who comes back is asked again who he is.
    fn events_for(
        self,
        life: Duration,
        greeting: &'static str,
    ) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        let end = tokio::time::sleep(life);
        self.events(greeting).take_until(end)
    }

    /// All that there is to say, after a greeting.
    fn events(self, greeting: &'static str) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        let hello = stream::once(async move { Ok(Event::default().retry(RETRY).comment(greeting)) });
        let events = stream::unfold(self, |mut tail| async move {
            let events = tail.next().await?;
            Some((stream::iter(events.into_iter().map(Ok)), tail))
        });
        hello.chain(events.flatten())
    }
}

/// The answer that such events are.
pub(crate) fn answer(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new().interval(PING).text("ping")).into_response()
}
