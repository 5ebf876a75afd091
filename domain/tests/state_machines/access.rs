//! The one rule of access: what is recorded is recorded once.

use domain::access::{Access, AccessEvent, RecordAccess};
use proptest::prelude::*;

use super::machine::{Answer, Model};
use super::values::texts;

/// Whether something is recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    recorded: bool,
}

impl Model for Rules {
    type Of = Access;

    fn births() -> BoxedStrategy<RecordAccess> {
        texts(&["wrong signature", "no signature"])
            .prop_map(|reason| {
                RecordAccess(AccessEvent::AccessSignatureRefused { source: "github".to_owned(), reason })
            })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<RecordAccess> {
        Self::births()
    }

    fn is_born(&self) -> bool {
        self.recorded
    }

    fn obey(&mut self, RecordAccess(event): RecordAccess) -> Answer<Self> {
        let again = std::mem::replace(&mut self.recorded, true);
        Ok(if again { vec![] } else { vec![event] })
    }

    fn check(&self, _: &Access, history: &[AccessEvent]) {
        assert_eq!(history.len(), usize::from(self.recorded));
    }
}
