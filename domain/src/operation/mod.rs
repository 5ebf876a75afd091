//! What operators did to the platform itself: each operation is a stream of its own with one event.
//!
//! Invariant: nothing is decided here. The event is recorded in the transaction that does what it tells, through a
//! function of the database that appends nothing else.

mod event;

use std::convert::Infallible;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use event::OperationEvent;

use crate::fact::{Fact, Stored};
use crate::ids::OperationId;

/// One operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Operation {
    done: Option<OperationEvent>,
}

impl Aggregate for Operation {
    const TYPE: &'static str = "operation";
    type Command = Infallible;
    type Event = OperationEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Infallible,
        (): &(),
        _sink: &EventSink<Self>,
    ) -> Result<(), Infallible> {
        match command {}
    }

    fn apply(&mut self, event: OperationEvent) {
        self.done = Some(event);
    }
}

impl Stored for Operation {
    type Id = OperationId;

    fn fact(id: OperationId, event: OperationEvent) -> Fact {
        Fact::Operation(id, event)
    }
}
