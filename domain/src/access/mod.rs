//! Access: what an append of its own would not show, because nothing came of it or nothing was changed by it.
//!
//! Invariant: each is an event in a stream of its own, so that recording one never waits for, or fails with, another.

mod event;

use std::convert::Infallible;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::fact::{Fact, Stored};
use crate::ids::AccessId;

pub use event::{AccessEvent, AccessTarget, SignInFailure, TelemetrySignal};

/// Whether it is recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Access {
    recorded: bool,
}

/// The one command: record this.
#[derive(Clone, Debug)]
pub struct RecordAccess(pub AccessEvent);

impl RecordAccess {
    /// The name kept in the envelope.
    pub const NAME: &'static str = "RecordAccess";
}

impl Aggregate for Access {
    const TYPE: &'static str = "access";
    type Command = RecordAccess;
    type Event = AccessEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        RecordAccess(event): RecordAccess,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Infallible> {
        if !self.recorded {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, _: AccessEvent) {
        self.recorded = true;
    }
}

impl Stored for Access {
    type Id = AccessId;

    fn fact(id: AccessId, event: AccessEvent) -> Fact {
        Fact::Access(id, event)
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn refused() -> AccessEvent {
        AccessEvent::AccessSignatureRefused { source: "github".into(), reason: "wrong signature".into() }
    }

    #[test]
    fn it_is_recorded() {
        TestFramework::<Access>::with(())
            .given_no_previous_events()
            .when(RecordAccess(refused()))
            .then_expect_events(vec![refused()]);
    }

    #[test]
    fn it_is_recorded_once() {
        TestFramework::<Access>::with(())
            .given(vec![refused()])
            .when(RecordAccess(refused()))
            .then_expect_events(vec![]);
    }
}
