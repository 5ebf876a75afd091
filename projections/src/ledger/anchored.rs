//! What an anchor has seen: signed checkpoints in the order in which it was told of them.
//!
//! A line that is torn, foreign or out of order witnesses nothing and is passed over.

use std::io::{self, BufRead, Lines};

use serde::Deserialize;

use super::key::PublicKey;
use super::note::Signed;
use super::verify::Finding;

/// The checkpoints of an anchor, compared with the chain as it is walked.
pub(super) struct Anchored {
    lines: Option<Lines<Box<dyn BufRead + Send>>>,
    peeked: Option<Signed>,
    /// How many are the chain's own.
    pub(super) agreed: i64,
    /// How many events the last of these covers.
    agreed_size: i64,
    /// Both went different ways: what follows says nothing new.
    parted: bool,
}

#[derive(Deserialize)]
struct Line {
    checkpoint: String,
}

impl Anchored {
    pub(super) fn new(source: Option<Box<dyn BufRead + Send>>) -> Self {
        Self { lines: source.map(BufRead::lines), peeked: None, agreed: 0, agreed_size: 0, parted: false }
    }

    /// Compares a checkpoint of the chain with what the anchor has seen under its number.
    pub(super) fn meets(&mut self, ours: &Signed, trusted: &[PublicKey]) -> io::Result<Option<Finding>> {
        let number = ours.checkpoint.number;
        while let Some(seen) = self.next_up_to(number)? {
            if self.parted || seen.checkpoint.number < number || !is_trusted(&seen, trusted) {
                continue;
            }
            if seen.note != ours.note {
                self.parted = true;
                return Ok(Some(self.contradicts(&seen)));
            }
            self.agreed += 1;
            self.agreed_size = seen.checkpoint.size;
        }
        Ok(None)
    }

    /// What the anchor has seen behind the last checkpoint of the chain. `end` is where the log ends.
    pub(super) fn rest(&mut self, end: i64, trusted: &[PublicKey]) -> io::Result<Option<Finding>> {
        let mut furthest: Option<Signed> = None;
        while let Some(seen) = self.next_up_to(i64::MAX)? {
            let size = furthest.as_ref().map_or(-1, |furthest| furthest.checkpoint.size);
            if seen.checkpoint.size > size && is_trusted(&seen, trusted) {
                furthest = Some(seen);
            }
        }
        Ok(furthest.filter(|_| !self.parted).map(|seen| {
            let (to, at) = (seen.checkpoint.size, seen.checkpoint.at.to_rfc3339());
            if end < to { Finding::CutTail { from: end + 1, to, at } } else { self.contradicts(&seen) }
        }))
    }

    fn contradicts(&self, seen: &Signed) -> Finding {
        let (number, to) = (seen.checkpoint.number, seen.checkpoint.size);
        let from = (self.agreed_size + 1).min(to);
        Finding::Anchor { number, from, to, at: seen.checkpoint.at.to_rfc3339() }
    }

    fn next_up_to(&mut self, number: i64) -> io::Result<Option<Signed>> {
        while self.peeked.is_none() {
            let Some(line) = self.lines.as_mut().and_then(Iterator::next) else { return Ok(None) };
            let line = line?;
            self.peeked = serde_json::from_str::<Line>(&line)
                .ok()
                .and_then(|line| Signed::parse(&line.checkpoint).ok());
        }
        Ok(self.peeked.take_if(|seen| seen.checkpoint.number <= number))
    }
}

fn is_trusted(signed: &Signed, trusted: &[PublicKey]) -> bool {
    trusted.iter().any(|key| signed.is_signed_by(key))
}
