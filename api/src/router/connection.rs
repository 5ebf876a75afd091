//! What lasts as long as an answer: its place among those under way, and the right to it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::balance::Place;
use super::in_flight::Guard;

/// Ends when who asked may go on no more.
pub(super) type Lost = BoxFuture<'static, ()>;

/// One request under way.
pub(super) struct Connection {
    _guard: Guard,
    /// With its server, where a deployment has several.
    _place: Option<Place>,
    /// None for what is never asked again.
    lost: Option<Lost>,
}

impl Connection {
    pub(super) fn new(guard: Guard, place: Option<Place>, lost: Option<Lost>) -> Self {
        Self { _guard: guard, _place: place, lost }
    }

    /// Returns when who asked may go on no more.
    pub(super) async fn lost(&mut self) {
        match &mut self.lost {
            Some(lost) => lost.await,
            None => std::future::pending().await,
        }
    }
}

/// The body of an answer. It is cut when the right to it is lost, and when nothing comes for too long.
pub(super) struct Answered {
    body: Body,
    connection: Connection,
    idle: Duration,
    /// Since the last piece; none while there is always a next one.
    silence: Option<Pin<Box<Sleep>>>,
    /// Whether it came in more than one piece: only then the right is asked for again.
    is_long: bool,
}

impl Answered {
    pub(super) fn new(body: Body, connection: Connection, idle: Duration) -> Self {
        Self { body, connection, idle, silence: None, is_long: false }
    }
}

fn cut<T>(why: &'static str) -> Poll<Option<Result<T, axum::Error>>> {
    Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other(why)))))
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.is_long
            && let Some(lost) = &mut this.connection.lost
            && lost.as_mut().poll(context).is_ready()
        {
            return cut("the right to this answer was lost");
        }
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_ready() {
            this.is_long = true;
            if let Some(silence) = &mut this.silence {
                silence.as_mut().reset(Instant::now() + this.idle);
            }
            return polled;
        }
        if !this.is_long {
            // Asked for the first time, so that it is woken.
            this.is_long = true;
            context.waker().wake_by_ref();
        }
        let idle = this.idle;
        let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if silence.as_mut().poll(context).is_ready() {
            return cut("the server has sent nothing for too long");
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
