//! The end of what a command wrote, for the message of its failure.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// How much of the end is remembered.
const BYTES: usize = 32 << 10;

/// Shared by those who copy the output.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// Remembers it.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes);
        let surplus = tail.len().saturating_sub(BYTES);
        tail.drain(..surplus);
    }

    /// What is remembered.
    pub(super) fn text(&self) -> String {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }
}
