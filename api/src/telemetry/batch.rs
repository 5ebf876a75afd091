//! What was read of a body: rows that can be stored, and why others cannot.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{LogRecord, Point, Score, Span, TelemetryError, Written};

use super::{Accepted, caps};
use crate::error::ApiError;
use crate::gate::Sender;
use crate::platform::Platform;

/// So many refused rows are explained.
const EXPLAINED: usize = 5;
/// Bytes of the rows of one body. What a body says once about many rows is said again in each of them.
pub(super) const MOST: usize = 32 << 20;
/// Bytes of a row besides what its sender chooses freely.
const ROW: usize = 512;

/// Rows that can be stored, and why others cannot.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) rows: Vec<T>,
    /// Bytes of them.
    size: usize,
    rejected: u64,
    reasons: Vec<String>,
}

/// A row that somebody sent.
pub(super) trait Sent {
    /// Which deployment it is of.
    fn deployment(&mut self) -> &mut Option<DeploymentId>;
    /// Bytes of what its sender chose freely.
    fn size(&self) -> usize;
}

macro_rules! sent {
    ($($row:ty { $objects:ident $($more:ident)* } $([$($list:ident)*])?),*) => {$(
        impl Sent for $row {
            fn deployment(&mut self) -> &mut Option<DeploymentId> {
                &mut self.deployment_id
            }

            fn size(&self) -> usize {
                caps::size_of_members(&self.$objects)
                    $(+ caps::size_of_members(&self.$more))*
                    $($(+ self.$list.iter().map(caps::size).sum::<usize>())*)?
            }
        }
    )*};
}
sent!(
    Span { attributes resource } [events links],
    LogRecord { attributes resource },
    Point { labels context },
    Score { details }
);

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { rows: vec![], size: 0, rejected: 0, reasons: vec![] }
    }
}

impl<T> Batch<T> {
    /// Adds a row, if there is room for it; else it is not even made.
    pub(super) fn add_with(&mut self, row: impl FnOnce() -> Result<T, String>)
    where
        T: Sent,
    {
        if self.size >= MOST {
            self.refuse(|| format!("the body says more than {} MiB in all", MOST >> 20));
            return;
        }
        match row() {
            Ok(row) => {
                self.size += ROW + row.size();
                self.rows.push(row);
            }
            Err(reason) => self.refuse(|| reason),
        }
    }

    /// Counts a row that cannot be one.
    pub(super) fn refuse(&mut self, reason: impl FnOnce() -> String) {
        self.rejected += 1;
        if self.reasons.len() < EXPLAINED {
            self.reasons.push(reason());
        }
    }

    /// Rows that cannot be stored.
    #[cfg(test)]
    pub(super) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Bytes that the rows take up.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Takes out what is too old to be kept, or has not happened yet; `told` says when a row was, and what to call it.
    pub(super) fn keep_window(
        &mut self,
        window: &RangeInclusive<DateTime<Utc>>,
        told: impl Fn(&T) -> (DateTime<Utc>, String),
    ) {
        for row in std::mem::take(&mut self.rows) {
            let (at, name) = told(&row);
            match at {
                at if at < *window.start() => {
                    self.refuse(|| format!("{name}: began before {}, which is not kept", window.start()));
                }
                at if at > *window.end() => self.refuse(|| format!("{name}: began in the future")),
                _ => self.rows.push(row),
            }
        }
    }

    /// Stores the rows, and says what became of all. Nothing is nothing to do.
    pub(super) async fn store<F>(
        mut self,
        platform: &Platform,
        sender: &Sender,
        signal: &'static str,
        write: impl FnOnce(Vec<T>) -> F,
    ) -> Result<Accepted, ApiError>
    where
        T: Sent,
        F: Future<Output = Result<Written, TelemetryError>>,
    {
        if sender.deployment.is_some() {
            // Its token proves what others only say.
            self.rows.iter_mut().for_each(|row| *row.deployment() = sender.deployment);
        }
        let accepted = self.rows.len() as u64;
        if !sender.dry_run {
            sender.allowance.take(&platform.pool, sender.tenant.project, accepted).await?;
        }
        if accepted > 0 && !sender.dry_run {
            let turn = sender.room.turn_to_write().await;
            let written = match turn {
                Ok(_turn) => write(self.rows).await,
                Err(_) => Err(TelemetryError::Busy),
            };
            let uncounted = written.as_ref().map_or(accepted, |written| written.repeated);
            sender.allowance.give_back(&platform.pool, sender.tenant.project, uncounted).await;
            let written = written?;
            metrics::counter!(format!("mastra_admin_{signal}_stored")).increment(written.stored);
            metrics::counter!(format!("mastra_admin_{signal}_repeated")).increment(written.repeated);
        }
        metrics::counter!(format!("mastra_admin_{signal}_rejected")).increment(self.rejected);
        Ok(Accepted { accepted, rejected: self.rejected, errors: self.reasons })
    }
}
