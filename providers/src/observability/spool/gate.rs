//! Whether the store is asked: once it has failed, nobody waits for it until it has answered again.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::ports::telemetry::TelemetryError;

#[derive(Default)]
pub(super) struct Gate(AtomicBool);

impl Gate {
    pub(super) fn is_shut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// It has failed.
    pub(super) fn shut(&self, error: &TelemetryError) {
        if !self.0.swap(true, Ordering::Relaxed) {
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "telemetry is kept on disk until its store is back: {error}");
        }
    }

    /// It has answered.
    pub(super) fn open(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::info!("telemetry goes to its store again");
        }
    }
}
