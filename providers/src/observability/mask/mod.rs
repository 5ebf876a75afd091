//! Takes secrets out of streams of bytes, however the bytes are cut into chunks.
//!
//! Masked are the values themselves and their base64, hexadecimal, percent-encoded and JSON forms (see `forms`), and each
//! line of a value that has several. Not masked are values shorter than four bytes, and lines of a longer
//! value that are shorter than six: they are part of too many words.

mod forms;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use domain::secret::Secret;

/// What stands where a secret was.
pub(super) const MASK: &[u8] = b"***";

/// The secrets to look for; made once, shared by all streams of a source.
pub(super) struct Secrets {
    forms: Vec<Vec<u8>>,
    longest: usize,
    /// `None` when there is nothing to look for.
    finder: Option<AhoCorasick>,
}

impl Secrets {
    /// Prepares the search for these values in all their forms.
    pub(super) fn new(values: &[Secret]) -> Self {
        let forms = forms::of(values);
        let finder = (!forms.is_empty()).then(|| {
            AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::ContiguousNFA)) // a DFA of long keys takes tens of megabytes
                .build(&forms)
                .expect("values of variables are far below the four gigabytes it can take")
        });
        Self { longest: forms.iter().map(Vec::len).max().unwrap_or(0), forms, finder }
    }

    /// Whether a form goes on where the tail ends.
    fn begin_with(&self, tail: &[u8]) -> bool {
        let next = self.forms.partition_point(|form| form.as_slice() <= tail);
        self.forms.get(next).is_some_and(|form| form.starts_with(tail))
    }

    /// Where secrets are, in order of their start; they may overlap.
    fn find(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let Some(finder) = &self.finder else { return Vec::new() };
        let mut found: Vec<_> =
            finder.find_overlapping_iter(bytes).map(|found| (found.start(), found.end())).collect();
        found.sort_unstable();
        found
    }
}

/// Masks one stream. Holds back only the longest tail that may begin a secret.
pub(super) struct Masker {
    secrets: Arc<Secrets>,
    held: Vec<u8>,
    /// So many of the held bytes belong to a secret whose mask is out already.
    covered: usize,
}

impl Masker {
    /// A stream that begins now.
    pub(super) fn new(secrets: Arc<Secrets>) -> Self {
        Self { secrets, held: Vec::new(), covered: 0 }
    }

    /// Takes the next bytes; appends to `out` what is certain to be no beginning of a secret.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        self.drain(self.held.len() - self.undecided(), out);
    }

    /// Whether the end of a line is held back: it began like a secret of several lines.
    pub(super) fn holds_line(&self) -> bool {
        self.held.contains(&b'\n')
    }

    /// Gives out the complete lines that are held back. A secret that goes on is still masked line by line.
    pub(super) fn release_lines(&mut self, out: &mut Vec<u8>) {
        if let Some(end) = self.held.iter().rposition(|byte| *byte == b'\n') {
            self.drain(end + 1, out);
        }
    }

    /// Gives out everything, because the stream ends here.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        self.drain(self.held.len(), out);
    }

    /// Length of the longest tail that may begin a secret.
    fn undecided(&self) -> usize {
        let held = self.held.len();
        let longest = self.secrets.longest.saturating_sub(1).min(held);
        (1..=longest).rev().find(|length| self.secrets.begin_with(&self.held[held - length..])).unwrap_or(0)
    }

    /// Moves the first `end` held bytes out, with every secret that begins there replaced.
    fn drain(&mut self, end: usize, out: &mut Vec<u8>) {
        let mut done = self.covered;
        for (start, stop) in self.secrets.find(&self.held) {
            if start >= end {
                break;
            }
            if start >= done {
                out.extend_from_slice(&self.held[done..start]);
                out.extend_from_slice(MASK);
            }
            done = done.max(stop);
        }
        if done < end {
            out.extend_from_slice(&self.held[done..end]);
            done = end;
        }
        self.held.drain(..end);
        self.covered = done - end;
    }
}
