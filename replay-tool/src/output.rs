//! Standard output: a line at a time, so that what was said is read although we are killed afterwards.

use std::fmt::Display;
use std::io::Write;

use crate::failure::Outcome;

pub(crate) fn line(line: impl Display) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
