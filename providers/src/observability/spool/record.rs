//! What waits: rows of one signal that one project sent together, as they were accepted and priced.

use std::io;

use chrono::{DateTime, Utc};
use domain::ids::{ProjectId, TeamId};
use domain::ports::telemetry::{LogRecord, Point, Score, Span, Tenant};
use serde::{Deserialize, Serialize};

use super::segment::Packed;

/// Fast, and telemetry says the same often.
const LEVEL: i32 = 1;

/// Rows of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Rows {
    Spans(Vec<Span>),
    Logs(Vec<LogRecord>),
    Points(Vec<Point>),
    Scores(Vec<Score>),
}

/// Runs the same with the rows of whichever signal.
macro_rules! each {
    ($rows:expr, $of:ident => $what:expr) => {
        match $rows {
            Rows::Spans($of) => $what,
            Rows::Logs($of) => $what,
            Rows::Points($of) => $what,
            Rows::Scores($of) => $what,
        }
    };
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        each!(self, rows => rows.len())
    }

    /// Adds rows of the same signal; gives others back.
    pub(super) fn merge(&mut self, more: Self) -> Option<Self> {
        match (self, more) {
            (Self::Spans(rows), Self::Spans(more)) => rows.extend(more),
            (Self::Logs(rows), Self::Logs(more)) => rows.extend(more),
            (Self::Points(rows), Self::Points(more)) => rows.extend(more),
            (Self::Scores(rows), Self::Scores(more)) => rows.extend(more),
            (_, more) => return Some(more),
        }
        None
    }

    /// Takes away the second half.
    pub(super) fn split(&mut self) -> Self {
        self.split_off(self.len() / 2)
    }

    /// Takes away what is behind so many.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Spans(rows) => Self::Spans(rows.split_off(at)),
            Self::Logs(rows) => Self::Logs(rows.split_off(at)),
            Self::Points(rows) => Self::Points(rows.split_off(at)),
            Self::Scores(rows) => Self::Scores(rows.split_off(at)),
        }
    }
}

/// Whose rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    team: TeamId,
    project: ProjectId,
    pub(super) rows: Rows,
}

impl Record {
    pub(super) fn new(tenant: Tenant, rows: Rows) -> Self {
        Self { team: tenant.team, project: tenant.project, rows }
    }

    pub(super) fn tenant(&self) -> Tenant {
        Tenant { team: self.team, project: self.project }
    }

    /// As it is written.
    pub(super) fn pack(&self, at: DateTime<Utc>) -> io::Result<Packed> {
        let plain = rmp_serde::to_vec_named(self).map_err(io::Error::other)?;
        let payload = zstd::bulk::compress(&plain, LEVEL)?;
        Ok(Packed { rows: u32::try_from(self.rows.len()).unwrap_or(u32::MAX), at, payload })
    }

    /// As it was before, and how many bytes that is.
    pub(super) fn unpack(packed: &Packed) -> io::Result<(Self, usize)> {
        let plain = zstd::stream::decode_all(&*packed.payload)?;
        Ok((rmp_serde::from_slice(&plain).map_err(io::Error::other)?, plain.len()))
    }
}
